-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.drop_broken_indexes(p_boundary text) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', i.relation)
      FROM orisun.boundary_index i
      JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indrelid = (orisun.find_boundary(p_boundary)).events
     WHERE i.boundary = p_boundary AND NOT x.indisvalid
     ORDER BY i.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.drop_broken_indexes(text) IS $$The statements that drop what is left of builds that failed. Only who has the right of orisun.lock_indexes may run them: an index
that another session is building looks the same.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.drop_broken_indexes(text);
