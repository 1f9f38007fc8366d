-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.split_contexts(p_indexes orisun.boundary_index[], p_keys text[], p_contexts orisun.context[]) RETURNS SETOF orisun.context_part
LANGUAGE plpgsql IMMUTABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_indexes orisun.boundary_index[] := orisun.choose_indexes(p_indexes, p_keys, NULL);
    v_index   orisun.boundary_index;
BEGIN
    FOREACH v_index IN ARRAY v_indexes LOOP
        IF v_index.depends_on_values THEN
            RETURN QUERY
            SELECT c.indexes, array_agg(c.context)
              FROM (SELECT orisun.choose_indexes(v_indexes, p_keys, c.vals) AS indexes, c AS context FROM unnest(p_contexts) c) c
             GROUP BY c.indexes;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY SELECT v_indexes, p_contexts;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.split_contexts(orisun.boundary_index[], text[], orisun.context[]) IS $$Contexts with the same keys, by which of the indexes serve them. Typed and partial indexes serve some values only; without such it is one part.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.split_contexts(orisun.boundary_index[], text[], orisun.context[]);
