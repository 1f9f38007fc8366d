-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.read_roles(p_data jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT CASE WHEN jsonb_typeof(p_data -> 'roles') = 'array' THEN ARRAY(SELECT r.role FROM jsonb_array_elements_text(p_data -> 'roles') AS r(role) WHERE r.role IS NOT NULL) ELSE '{}' END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_roles(jsonb) IS $$The roles in the data of an event UserCreated or UserRolesChanged; none where they are no array and none that are null, so that an
event saved by hand stops neither the projection nor those who read the table.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.read_roles(jsonb);
