-- +goose Up
CREATE TABLE orisun.followed_event (
    LIKE orisun.event,
    matches boolean NOT NULL
);

COMMENT ON TABLE orisun.followed_event IS $$The shape of what orisun.follow_events returns: an event that matches, or, with matches = false and without content,
the place up to which the scan went. It holds no rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.follow_events(
    p_boundary       text,
    p_criteria       jsonb   DEFAULT '[]',
    p_transaction_id bigint  DEFAULT -1,
    p_global_id      bigint  DEFAULT -1,
    p_window         integer DEFAULT 4096,
    p_count          integer DEFAULT 1000
) RETURNS SETOF orisun.followed_event
LANGUAGE plpgsql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_events  regclass              := (orisun.find_boundary(p_boundary)).events;
    v_tags    record                := orisun.read_tags(p_criteria);
    v_first   orisun.event_position;
    v_last    orisun.event_position;
    v_reading record;
    v_found   bigint;
BEGIN
    -- The window counts from an event that exists: after rows that somebody removed, or a rolled back INSERT by hand, it would be empty.
    EXECUTE format('SELECT e.transaction_id, e.global_id FROM %s e WHERE e.global_id >= %s ORDER BY e.global_id LIMIT 1',
                   v_events, orisun.bound_expression(v_events, '$1', '$2'))
       INTO v_first
      USING p_transaction_id, orisun.page_begin(p_transaction_id, p_global_id, false, false);
    IF v_first IS NULL THEN
        RETURN;
    END IF;
    -- Where indexes lead from match to match, what lies between costs nothing, and no window is needed.
    EXECUTE format('SELECT e.transaction_id, e.global_id FROM %s e WHERE e.global_id <= $1 ORDER BY e.global_id DESC LIMIT 1', v_events)
       INTO v_last
      USING CASE WHEN orisun.are_covered(p_boundary, p_criteria) THEN 9223372036854775807 ELSE v_first.global_id + p_window - 1 END;

    v_reading := orisun.compose_reading(p_boundary, v_tags.tag_criteria, v_tags.tag_keys, v_tags.tag_values, true, true, false);
    RETURN QUERY EXECUTE format('SELECT e.*, true FROM (%s) e', v_reading.statement)
        USING v_tags.tag_values, p_count, v_first.transaction_id, v_first.global_id, v_last.transaction_id, v_last.global_id;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found < p_count THEN
        RETURN QUERY EXECUTE format($sql$
            SELECT e.global_id, e.transaction_id, e.date_created, '', '', '{}'::jsonb, '{}'::jsonb, false
              FROM %s e WHERE e.global_id = $1
            $sql$, v_events) USING v_last.global_id;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.follow_events(text, jsonb, bigint, bigint, integer, integer) IS $$The next page of a subscription: events after a position that match, in order, and how far was looked.

  p_criteria                    as in orisun.get_matching_events
  p_transaction_id, p_global_id the position after which the page begins; it need not be that of an event; (-1,-1) is the very beginning
  p_window                      how many positions to look at at most, so that a page takes bounded time where indexes do not lead straight to the matches
  p_count                       the page's length in events

A page of less than p_count events ends with a row of matches = false and without content: the position of the last event looked at, from
which the next page goes on. No row at all: nothing lies after the position. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.follow_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

-- +goose Down
DROP FUNCTION orisun.follow_events(text, jsonb, bigint, bigint, integer, integer);
DROP TABLE orisun.followed_event;
