-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_indexes(p_boundary text) RETURNS orisun.boundary_index[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN ARRAY(SELECT i
                   FROM orisun.boundary_index i
                   JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indisvalid
                  WHERE i.boundary = p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_indexes(text) IS $$The indexes of a boundary that questions may count on: those that exist and are valid at this moment. Every question and save asks this, so
its plan is made once and looks each index up.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_indexes(text);
