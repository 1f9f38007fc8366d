-- +goose Up
CREATE FUNCTION orisun_boundary.next_events(p_global_id bigint, p_count integer) RETURNS SETOF orisun.event
LANGUAGE sql STABLE
AS $$ SELECT e.* FROM orisun_boundary.es_event e WHERE e.global_id > p_global_id ORDER BY e.global_id LIMIT p_count $$;

COMMENT ON FUNCTION orisun_boundary.next_events(bigint, integer) IS
$$The first p_count events after a stored event, or after -1. The outbox reads them.$$;

CREATE TABLE orisun.followed_event (
    LIKE orisun.event,
    matches boolean NOT NULL
);

COMMENT ON TABLE orisun.followed_event IS
$$The shape of what a boundary's follow_events returns: an event that matches, or, with matches = false and without
content, the place up to which the scan went. It holds no rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.follow_events(
    p_criteria       jsonb[],
    p_transaction_id bigint,
    p_global_id      bigint,
    p_window         integer,
    p_count          integer
) RETURNS SETOF orisun.followed_event
LANGUAGE plpgsql STABLE ROWS 100
AS $$
DECLARE
    v_first bigint := orisun_boundary.range_start(p_transaction_id, p_global_id);
    v_last  orisun.event_position;
    v_found bigint;
BEGIN
    -- The window counts from an event that exists: after rows that were removed by hand, or a rolled back INSERT by
    -- hand, it would be empty.
    v_first := (SELECT e.global_id FROM orisun_boundary.es_event e WHERE e.global_id >= v_first ORDER BY e.global_id
                 LIMIT 1);
    IF v_first IS NULL THEN
        RETURN;
    END IF;
    -- Where indexes lead from match to match, what lies between costs nothing, and no window is needed.
    SELECT e.transaction_id, e.global_id INTO v_last FROM orisun_boundary.es_event e
     WHERE e.global_id <= CASE WHEN orisun.are_covered(orisun_boundary.number(), p_criteria,
                                                       orisun_boundary.choose_indexes(p_criteria))
                                 THEN 9223372036854775807 ELSE v_first + p_window - 1 END
     ORDER BY e.global_id DESC LIMIT 1;

    RETURN QUERY
    SELECT e.*, true
      FROM orisun_boundary.read_page(p_criteria, p_transaction_id, p_global_id,
                                     v_last.transaction_id, v_last.global_id + 1, false, p_count) e;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found < p_count THEN
        RETURN QUERY
        SELECT e.global_id, e.transaction_id, e.date_created, '', '', '{}'::jsonb, '{}'::jsonb, false
          FROM orisun_boundary.es_event e WHERE e.global_id = v_last.global_id ORDER BY e.global_id LIMIT 1;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.follow_events(jsonb[], bigint, bigint, integer, integer) IS
$$The next page of a subscription: events after a position that match, in order, and how far was looked.

  p_criteria                    as orisun.read_criteria returns them
  p_transaction_id, p_global_id the position after which the page begins; it need not be that of an event; (-1,-1) is
                                the very beginning
  p_window                      how many positions to look at at most, so that a page takes bounded time where indexes
                                do not lead straight to the matches
  p_count                       the page's length in events

A page of less than p_count events ends with a row of matches = false and without content: the position of the last
event looked at, from which the next page goes on. No row at all: nothing lies after the position.$$;

-- +goose Down
DROP FUNCTION orisun_boundary.follow_events(jsonb[], bigint, bigint, integer, integer);
DROP TABLE orisun.followed_event;
DROP FUNCTION orisun_boundary.next_events(bigint, integer);
