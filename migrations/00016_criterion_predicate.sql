-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.criterion_predicate(p_keys text[], p_values text, p_offset integer) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        string_agg(
            CASE WHEN k.key IN ('event_type', 'eventType')
                 THEN format('e.event_type = (%s)[%s]', p_values, p_offset + k.ordinal)
                 ELSE format('e.data ->> %L = (%s)[%s]', k.key, p_values, p_offset + k.ordinal)
            END, ' AND ' ORDER BY k.ordinal),
        'true')
    FROM unnest(p_keys) WITH ORDINALITY AS k(key, ordinal)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.criterion_predicate(text[], text, integer) IS $$The SQL predicate, over an event called e, of a criterion with these keys. Its values are elements of the array expression
p_values, the first at p_offset + 1. Keys become literals, because an index on (data ->> 'key') is found no other way.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.criterion_predicate(text[], text, integer);
