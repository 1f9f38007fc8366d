-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_unfinished_indexes() RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT i.boundary
      FROM orisun.boundary_index i
     WHERE NOT EXISTS (SELECT FROM pg_index x WHERE x.indexrelid = to_regclass(i.relation) AND x.indisvalid);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_unfinished_indexes() IS $$The boundaries that have definitions without a valid index: builds that are under way, or that were killed (see orisun.clean_indexes).$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_unfinished_indexes();
