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

-- +goose StatementBegin
CREATE FUNCTION orisun.read_tags(p_criteria jsonb, OUT tag_criteria integer[], OUT tag_keys text[], OUT tag_values text[])
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT coalesce(array_agg(t.criterion), '{}'), coalesce(array_agg(t.key), '{}'), coalesce(array_agg(t.val), '{}')
      INTO tag_criteria, tag_keys, tag_values
      FROM (SELECT c.criterion, g.key, g.val, every(c.keys <> '{}') OVER () AS each_has_tags
              FROM orisun.read_criteria(p_criteria) c
              LEFT JOIN LATERAL unnest(c.keys, c.vals) WITH ORDINALITY AS g(key, val, ordinal) ON true
             ORDER BY c.criterion, g.ordinal) t
     WHERE t.each_has_tags;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_tags(jsonb) IS $$Criteria as the API's JSON has them, as orisun.get_events takes them: an element each for a tag's criterion (from 1), its key and its value.
No tags are every event, so there are none when a criterion has none. Raises OR007 for anything else.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.tag_values(p_event_type text, p_data jsonb, p_keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE cardinality(p_keys)
        WHEN 1 THEN ARRAY[CASE WHEN p_keys[1] IN ('event_type', 'eventType') THEN p_event_type ELSE p_data ->> p_keys[1] END]
        ELSE ARRAY(SELECT CASE WHEN k.key IN ('event_type', 'eventType') THEN p_event_type ELSE p_data ->> k.key END FROM unnest(p_keys) AS k(key))
    END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.tag_values(text, jsonb, text[]) IS $$What an event has for the keys of a criterion, in their order, NULL where it has nothing. The criterion matches when that equals the values
of its tags: orisun.criterion_predicate for an event that is not stored yet.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.criterion_predicate(p_keys text[], p_values text, p_offset integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_predicate text := '';
BEGIN
    FOR v_tag IN 1 .. cardinality(p_keys) LOOP
        v_predicate := v_predicate || CASE WHEN v_tag > 1 THEN ' AND ' ELSE '' END
            || CASE WHEN p_keys[v_tag] IN ('event_type', 'eventType')
                    THEN format('e.event_type = (%s)[%s]', p_values, p_offset + v_tag)
                    ELSE format('e.data ->> %L = (%s)[%s]', p_keys[v_tag], p_values, p_offset + v_tag) END;
    END LOOP;
    RETURN CASE v_predicate WHEN '' THEN 'true' ELSE v_predicate END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.criterion_predicate(text[], text, integer) IS $$The SQL predicate, over an event called e, of a criterion with these keys. Its values are elements of the array expression
p_values, the first at p_offset + 1. Keys become literals, because an index on (data ->> 'key') is found no other way.$$;

-- +goose Down
DROP FUNCTION orisun.criterion_predicate(text[], text, integer);
DROP FUNCTION orisun.tag_values(text, jsonb, text[]);
DROP FUNCTION orisun.read_tags(jsonb);
DROP FUNCTION orisun.read_criteria(jsonb);
