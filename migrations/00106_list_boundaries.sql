-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.list_boundaries() RETURNS SETOF orisun.boundary
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT b.* FROM orisun.boundary b ORDER BY b.name $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_boundaries() IS $$All boundaries by name, configured ones, created ones and failed ones.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.list_boundaries();
