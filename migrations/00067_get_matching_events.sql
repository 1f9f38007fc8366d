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
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tags record := orisun.read_tags(p_criteria);
BEGIN
    RETURN QUERY SELECT * FROM orisun.get_events(p_boundary, v_tags.tag_criteria, v_tags.tag_keys, v_tags.tag_values,
                                                 p_transaction_id, p_global_id, p_inclusive, p_descending, p_count);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS $$One page of a boundary's events in the order of their positions, or in the opposite one (p_descending).

  p_criteria                    an event matches when one of the criteria does, a criterion when all of its tags do; [] is every event:
                                [{"tags": [{"key": "account", "value": "alice"}, {"key": "event_type", "value": "MoneySent"}]}]
  p_transaction_id, p_global_id where the page begins; it need not be the position of an event; NULL is the very beginning or end
  p_inclusive                   whether that position itself belongs to the page
  p_count                       the page's length in events

It is orisun.get_events for people. Each criterion that an index serves is an ordered, limited scan of its own; the others share one scan of the primary key, from where the page begins to where
it is full. orisun.explain_matching_events shows which is which. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]', p_descending => true, p_count => 10)$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
