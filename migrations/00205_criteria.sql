-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.read_criteria(p_criteria jsonb) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_criterion jsonb;
    v_criteria  jsonb[] := '{}';
BEGIN
    IF jsonb_typeof(p_criteria) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'criteria are a JSON array, not %', coalesce(jsonb_typeof(p_criteria), 'NULL')
            USING ERRCODE = 'OR007', HINT = 'For example [{"tags": [{"key": "account", "value": "alice"}]}].';
    END IF;
    FOR v_criterion IN SELECT c.value FROM jsonb_array_elements(p_criteria) c LOOP
        -- A misspelt name must not turn a criterion into one that matches every event.
        IF jsonb_typeof(v_criterion -> 'tags') IS DISTINCT FROM 'array'
           OR EXISTS (SELECT FROM jsonb_array_elements(v_criterion -> 'tags') t
                       WHERE jsonb_typeof(t.value -> 'key') IS DISTINCT FROM 'string'
                          OR jsonb_typeof(t.value -> 'value') IS DISTINCT FROM 'string') THEN
            RAISE EXCEPTION 'criterion % is malformed: %', cardinality(v_criteria) + 1, v_criterion
                USING ERRCODE = 'OR007',
                      HINT = 'A criterion is {"tags": [{"key": "account", "value": "alice"}]}, both as strings.';
        END IF;
        v_criteria := v_criteria || (
            -- A key with two values matches no event. No event has an empty type.
            SELECT CASE WHEN count(DISTINCT (t.key, t.value)) > count(DISTINCT t.key) THEN '{"event_type": ""}'::jsonb
                        ELSE coalesce(jsonb_object_agg(t.key, t.value), '{}') END
              FROM (SELECT CASE g.value ->> 'key' WHEN 'eventType' THEN 'event_type' ELSE g.value ->> 'key' END AS key,
                           g.value ->> 'value' AS value
                      FROM jsonb_array_elements(v_criterion -> 'tags') g) t);
    END LOOP;
    RETURN v_criteria;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_criteria(jsonb) IS
$$Converts criteria from the API's JSON, [{"tags": [{"key": "account", "value": "alice"}]}], into what a boundary's
functions take: one object per criterion, {"account": "alice"}. The key event_type stands for the event's type, and {}
matches every event. Raises OR007 for anything else.$$;

CREATE FUNCTION orisun.key_expression(p_event text, p_key text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE p_key WHEN 'event_type' THEN p_event || 'event_type' ELSE format('(%sdata ->> %L)', p_event, p_key) END
$$;

COMMENT ON FUNCTION orisun.key_expression(text, text) IS
$$The SQL of the text that an event has for a tag's key. p_event stands before the columns: 'e.' in a query, nothing in
an index.$$;

CREATE FUNCTION orisun.render_table_scan(p_events regclass, p_criteria jsonb[], p_first bigint, p_end bigint,
                                  p_descending boolean, p_count integer) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('SELECT e.* FROM %s e WHERE e.global_id >= %s AND e.global_id < %s AND (%s) ORDER BY e.global_id %s '
                  'LIMIT %s',
                  p_events, p_first, p_end, string_agg(c.predicate, ' OR '),
                  CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END, p_count)
      FROM (SELECT coalesce(string_agg(format('%s = %L', orisun.key_expression('e.', t.key), t.value),
                                       ' AND ') FILTER (WHERE t.key IS NOT NULL), 'true') AS predicate
              FROM unnest(p_criteria) WITH ORDINALITY AS n(criterion, number)
              LEFT JOIN LATERAL jsonb_each_text(n.criterion) AS t(key, value) ON true
             GROUP BY n.number) c
$$;

COMMENT ON FUNCTION orisun.render_table_scan(regclass, jsonb[], bigint, bigint, boolean, integer) IS
$$The SQL that reads, in the order of positions, the events with p_first <= global_id < p_end that match one of the
criteria. It uses the primary key alone: its cost is that of all events up to the last match.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.scan_table(p_events regclass, p_criteria jsonb[], p_first bigint, p_end bigint,
                                  p_descending boolean, p_count integer)
RETURNS SETOF orisun.event
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY EXECUTE orisun.render_table_scan(p_events, p_criteria, p_first, p_end, p_descending, p_count);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.scan_table(regclass, jsonb[], bigint, bigint, boolean, integer) IS
$$Runs orisun.render_table_scan: the only place where SQL is composed per call, for criteria that no index serves.$$;

-- +goose Down
DROP FUNCTION orisun.scan_table(regclass, jsonb[], bigint, bigint, boolean, integer);
DROP FUNCTION orisun.render_table_scan(regclass, jsonb[], bigint, bigint, boolean, integer);
DROP FUNCTION orisun.key_expression(text, text);
DROP FUNCTION orisun.read_criteria(jsonb);
