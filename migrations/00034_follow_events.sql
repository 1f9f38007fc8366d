-- +goose Up
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
AS $$
DECLARE
    v_events    regclass := (orisun.find_boundary(p_boundary)).events;
    v_first     bigint;
    v_last      bigint;
    v_found     bigint;
    v_scans     text[]   := '{}';
    v_values    text[]   := '{}';
    v_criterion record;
BEGIN
    -- The window counts from an event that exists: after rows that somebody removed, or a rolled back INSERT by hand, it would be empty.
    EXECUTE format('SELECT e.global_id FROM %s e WHERE e.global_id >= $1 ORDER BY e.global_id LIMIT 1', v_events)
       INTO v_first
      USING orisun.position_bound(v_events, p_transaction_id, CASE WHEN p_global_id < 9223372036854775807 THEN p_global_id + 1 ELSE p_global_id END);
    IF v_first IS NULL THEN
        RETURN;
    END IF;
    v_last := v_first + p_window - 1;

    FOR v_criterion IN SELECT c.keys, c.vals FROM orisun.read_criteria(p_criteria) c LOOP
        v_scans := v_scans || format('(SELECT e.*, true FROM %s e WHERE e.global_id BETWEEN $2 AND $3 AND %s ORDER BY e.global_id LIMIT $4)',
                                     v_events, orisun.criterion_predicate(v_criterion.keys, '$1', cardinality(v_values)));
        v_values := v_values || v_criterion.vals;
    END LOOP;
    IF v_scans = '{}' THEN
        v_scans := ARRAY[format('(SELECT e.*, true FROM %s e WHERE e.global_id BETWEEN $2 AND $3 ORDER BY e.global_id LIMIT $4)', v_events)];
    END IF;
    RETURN QUERY EXECUTE CASE
        WHEN cardinality(v_scans) = 1 THEN v_scans[1]
        -- An event that matches several criteria comes out of several scans, side by side after the merge.
        ELSE format('SELECT DISTINCT ON (e.global_id) e.* FROM (%s) e ORDER BY e.global_id LIMIT $4', array_to_string(v_scans, ' UNION ALL '))
    END USING v_values, v_first, v_last, p_count;

    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found < p_count THEN
        RETURN QUERY EXECUTE format($sql$
            SELECT e.global_id, e.transaction_id, e.date_created, '', '', '{}'::jsonb, '{}'::jsonb, false
              FROM %s e WHERE e.global_id BETWEEN $1 AND $2 ORDER BY e.global_id DESC LIMIT 1
            $sql$, v_events) USING v_first, v_last;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.follow_events(text, jsonb, bigint, bigint, integer, integer) IS $$The next page of a subscription: events after a position that match, in order, and how far was looked.

  p_criteria                    as in orisun.get_matching_events
  p_transaction_id, p_global_id the position after which the page begins; it need not be that of an event; (-1,-1) is the very beginning
  p_window                      how many positions to look at at most, so that a page takes bounded time where no index serves the criteria
  p_count                       the page's length in events

A page of less than p_count events ends with a row of matches = false and without content: the position of the last event looked at, from
which the next page goes on. No row at all: nothing lies after the position. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.follow_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.follow_events(text, jsonb, bigint, bigint, integer, integer);
