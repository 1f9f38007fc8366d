-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.read_criteria(p_criteria jsonb) RETURNS TABLE (criterion integer, keys text[], vals text[])
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_criterion jsonb;
BEGIN
    IF jsonb_typeof(p_criteria) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'criteria are a JSON array, not %', coalesce(jsonb_typeof(p_criteria), 'NULL')
            USING ERRCODE = 'OR007', HINT = 'For example [{"tags": [{"key": "account", "value": "alice"}]}].';
    END IF;
    criterion := 0;
    FOR v_criterion IN SELECT c.value FROM jsonb_array_elements(p_criteria) c LOOP
        criterion := criterion + 1;
        -- A misspelt name must not turn a criterion into one that matches every event.
        IF jsonb_typeof(v_criterion -> 'tags') IS DISTINCT FROM 'array'
           OR EXISTS (SELECT FROM jsonb_array_elements(v_criterion -> 'tags') t
                       WHERE jsonb_typeof(t.value -> 'key') IS DISTINCT FROM 'string'
                          OR jsonb_typeof(t.value -> 'value') IS DISTINCT FROM 'string') THEN
            RAISE EXCEPTION 'criterion % is malformed: %', criterion, v_criterion
                USING ERRCODE = 'OR007', HINT = 'A criterion is {"tags": [{"key": "account", "value": "alice"}]}, both as strings.';
        END IF;
        SELECT coalesce(array_agg(t.value ->> 'key'), '{}'), coalesce(array_agg(t.value ->> 'value'), '{}')
          INTO keys, vals
          FROM jsonb_array_elements(v_criterion -> 'tags') t;
        RETURN NEXT;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_criteria(jsonb) IS $$Criteria as the API's JSON has them, one row each: [{"tags": [{"key": "account", "value": "alice"}]}]. Raises OR007 for anything else.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.read_criteria(jsonb);
