-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_latest_by_criteria(p_boundary text, p_criteria jsonb) RETURNS SETOF orisun.latest_event
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_events     regclass                := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_statements text[] := '{}';
    v_contexts   text[] := '{}';
    v_statement  text;
    v_name       text;
    v_shape      record;
    v_part       record;
BEGIN
    -- All shapes of criterion are one statement, which has one snapshot.
    FOR v_shape IN
        SELECT c.keys, array_agg(ROW(c.criterion, -1, -1, c.vals)::orisun.context) AS contexts FROM orisun.read_criteria(p_criteria) c GROUP BY c.keys
    LOOP
        FOR v_part IN SELECT p.indexes, p.contexts FROM orisun.split_contexts(v_indexes, v_shape.keys, v_shape.contexts) p LOOP
            v_contexts := v_contexts || quote_literal(v_part.contexts);
            v_statements := v_statements || orisun.compose_latest(v_events, v_part.indexes, v_shape.keys, '$' || cardinality(v_contexts));
        END LOOP;
    END LOOP;
    IF v_statements = '{}' THEN
        RETURN;
    END IF;
    v_statement := array_to_string(v_statements, ' UNION ALL ');
    v_name := 'orisun_' || md5(v_statement);
    PERFORM orisun.keep_statement(v_name, array_to_string(array_fill('orisun.context[]'::text, ARRAY[cardinality(v_contexts)]), ', '), v_statement);
    RETURN QUERY EXECUTE format('EXECUTE %I(%s)', v_name, array_to_string(v_contexts, ', '));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_latest_by_criteria(text, jsonb) IS $$The latest event of each criterion, all of one snapshot, with the criterion's number (from 1). A criterion that no event
matches has no row. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_latest_by_criteria('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_latest_by_criteria(text, jsonb);
