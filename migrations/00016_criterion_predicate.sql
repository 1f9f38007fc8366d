-- +goose Up
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
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.criterion_predicate(text[], text, integer);
