-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.insert_events_with_consistency(p_boundary text, p_query jsonb, p_events jsonb, OUT transaction_id bigint, OUT global_id bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_expected jsonb := p_query -> 'expected_position';
    v_result   record;
BEGIN
    IF jsonb_typeof(p_events) IS DISTINCT FROM 'array' OR jsonb_array_length(p_events) = 0 THEN
        RAISE EXCEPTION 'events are a JSON array of at least one event'
            USING ERRCODE = 'OR007',
                  HINT = 'For example [{"event_id": "order-1", "event_type": "OrderPlaced", "data": {"order": 1}, "metadata": {}}].';
    END IF;

    WITH criteria AS (
        SELECT c.criterion, c.keys, c.vals FROM orisun.read_criteria(coalesce(p_query -> 'criteria', '[]')) c
    ), tags AS (
        SELECT c.criterion, t.key, t.val FROM criteria c CROSS JOIN LATERAL unnest(c.keys, c.vals) AS t(key, val)
    ), events AS (
        SELECT e.value AS event FROM jsonb_array_elements(p_events) e
    )
    SELECT r.outcome, r.transaction_id, r.global_id
      INTO v_result
      FROM orisun.save_requests(
               p_boundary                 => p_boundary,
               p_expected_transaction_ids => ARRAY[coalesce((v_expected ->> 'transaction_id')::bigint, -1)],
               p_expected_global_ids      => ARRAY[coalesce((v_expected ->> 'global_id')::bigint, -1)],
               p_criterion_requests       => ARRAY(SELECT 1 FROM criteria),
               p_tag_criteria             => ARRAY(SELECT t.criterion FROM tags t),
               p_tag_keys                 => ARRAY(SELECT t.key FROM tags t),
               p_tag_values               => ARRAY(SELECT t.val FROM tags t),
               p_event_requests           => ARRAY(SELECT 1 FROM events),
               p_event_ids                => ARRAY(SELECT e.event ->> 'event_id' FROM events e),
               p_event_types              => ARRAY(SELECT e.event ->> 'event_type' FROM events e),
               p_data                     => ARRAY(SELECT e.event -> 'data' FROM events e),
               p_metadata                 => ARRAY(SELECT coalesce(e.event -> 'metadata', '{}') FROM events e)) r;

    transaction_id := v_result.transaction_id;
    global_id := v_result.global_id;
    IF v_result.outcome = 'context_changed' THEN
        RAISE EXCEPTION 'the context changed: nothing is saved'
            USING ERRCODE = 'OR003',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'expected', v_expected,
                                              'actual', jsonb_build_object('transaction_id', transaction_id, 'global_id', global_id))::text,
                  HINT = 'Ask for the context again with orisun.get_matching_events, decide again, and save with its last position.';
    ELSIF v_result.outcome = 'event_id_reused' THEN
        RAISE EXCEPTION 'an event_id is taken by another event: nothing is saved'
            USING ERRCODE = 'OR004',
                  DETAIL = jsonb_build_object('boundary', p_boundary,
                                              'taken_at', jsonb_build_object('transaction_id', transaction_id, 'global_id', global_id))::text,
                  HINT = 'Give a new save new ids; only the very same save may be sent again.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb) IS $$Saves one request, with the API's JSON, and answers the position of its last event. It raises OR003 when
the context changed and OR004 when an event_id is taken by another event; then nothing is saved. The rules are orisun.save_requests'.

  SELECT * FROM orisun.insert_events_with_consistency('orders',
      '{"expected_position": {"transaction_id": 7, "global_id": 6}, "criteria": [{"tags": [{"key": "order", "value": "1"}]}]}',
      '[{"event_id": "order-1-paid", "event_type": "OrderPaid", "data": {"order": 1}, "metadata": {"by": "psql"}}]')

Leave expected_position out when nothing of the context may exist, criteria when there is no context: '{}'.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb);
