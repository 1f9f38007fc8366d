-- +goose Up
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

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.tag_values(text, jsonb, text[]);
