-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_matching_events(
    p_boundary       text,
    p_criteria       jsonb   DEFAULT '[]',
    p_transaction_id bigint  DEFAULT NULL,
    p_global_id      bigint  DEFAULT NULL,
    p_inclusive      boolean DEFAULT true,
    p_descending     boolean DEFAULT false,
    p_count          integer DEFAULT 1000
) RETURNS SETOF orisun.event
LANGUAGE plpgsql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events    regclass := (orisun.find_boundary(p_boundary)).events;
    v_order     text     := CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END;
    v_range     text     := 'true';
    v_bound     bigint;
    v_scans     text[]   := '{}';
    v_values    text[]   := '{}';
    v_criterion record;
BEGIN
    IF p_transaction_id IS NOT NULL AND p_global_id IS NOT NULL THEN
        -- From the position on (ASC, inclusive), or up to before it (DESC, exclusive): at or after the position itself; else the next one.
        v_bound := orisun.position_bound(v_events, p_transaction_id,
            CASE WHEN p_inclusive = p_descending AND p_global_id < 9223372036854775807 THEN p_global_id + 1 ELSE p_global_id END);
        v_range := CASE WHEN p_descending THEN 'e.global_id < $2' ELSE 'e.global_id >= $2' END;
    END IF;

    FOR v_criterion IN SELECT c.keys, c.vals FROM orisun.read_criteria(p_criteria) c LOOP
        v_scans := v_scans || format('(SELECT e.* FROM %s e WHERE %s AND %s ORDER BY e.global_id %s LIMIT $3)', v_events, v_range,
                                     orisun.criterion_predicate(v_criterion.keys, '$1', cardinality(v_values)), v_order);
        v_values := v_values || v_criterion.vals;
    END LOOP;
    IF v_scans = '{}' THEN
        v_scans := ARRAY[format('(SELECT e.* FROM %s e WHERE %s ORDER BY e.global_id %s LIMIT $3)', v_events, v_range, v_order)];
    END IF;

    RETURN QUERY EXECUTE CASE
        WHEN cardinality(v_scans) = 1 THEN v_scans[1]
        -- An event that matches several criteria comes out of several scans, side by side after the merge.
        ELSE format('SELECT DISTINCT ON (e.global_id) e.* FROM (%s) e ORDER BY e.global_id %s LIMIT $3', array_to_string(v_scans, ' UNION ALL '), v_order)
    END USING v_values, v_bound, p_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS $$One page of a boundary's events in the order of their positions, or in the opposite one (p_descending).

  p_criteria                    an event matches when one of the criteria does, a criterion when all of its tags do; [] is every event:
                                [{"tags": [{"key": "account", "value": "alice"}, {"key": "event_type", "value": "MoneySent"}]}]
  p_transaction_id, p_global_id where the page begins; it need not be the position of an event; NULL is the very beginning or end
  p_inclusive                   whether that position itself belongs to the page
  p_count                       the page's length in events

Each criterion is an ordered, limited scan of its own. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]', p_descending => true, p_count => 10)$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
