-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_latest_by_criteria(p_boundary text, p_criteria jsonb) RETURNS SETOF orisun.latest_event
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events    regclass := (orisun.find_boundary(p_boundary)).events;
    v_scans     text[]   := '{}';
    v_values    text[]   := '{}';
    v_criterion record;
BEGIN
    FOR v_criterion IN SELECT c.criterion, c.keys, c.vals FROM orisun.read_criteria(p_criteria) c LOOP
        v_scans := v_scans || format('(SELECT e.*, %s FROM %s e WHERE %s ORDER BY e.global_id DESC LIMIT 1)', v_criterion.criterion, v_events,
                                     orisun.criterion_predicate(v_criterion.keys, '$1', cardinality(v_values)));
        v_values := v_values || v_criterion.vals;
    END LOOP;
    IF v_scans <> '{}' THEN
        RETURN QUERY EXECUTE array_to_string(v_scans, ' UNION ALL ') USING v_values;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_latest_by_criteria(text, jsonb) IS $$The latest event of each criterion, all of one snapshot, with the criterion's number (from 1). A criterion that no event
matches has no row. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_latest_by_criteria('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_latest_by_criteria(text, jsonb);
