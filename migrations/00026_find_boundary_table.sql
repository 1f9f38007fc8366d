-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_boundary_table(p_boundary text, p_suffix text) RETURNS regclass
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.find_boundary(p_boundary);
    RETURN (SELECT format('%I.%I', b.schema_name, b.name || p_suffix)::regclass FROM orisun.boundary b WHERE b.name = p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_boundary_table(text, text) IS $$One of a boundary's tables, by what follows the boundary in its name. Raises OR001 for an unknown boundary.
SELECT orisun.find_boundary_table('orders', '_orisun_last_published_event_position')$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_boundary_table(text, text);
