-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.save_requests(
    p_boundary                 text,
    p_expected_transaction_ids bigint[],
    p_expected_global_ids      bigint[],
    p_criterion_requests       integer[],
    p_tag_criteria             integer[],
    p_tag_keys                 text[],
    p_tag_values               text[],
    p_event_requests           integer[],
    p_event_ids                text[],
    p_event_types              text[],
    p_data                     jsonb[],
    p_metadata                 jsonb[]
) RETURNS SETOF orisun.save_result
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT * FROM %s($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)', orisun.saving_function(p_boundary, 'requests'))
        USING p_expected_transaction_ids, p_expected_global_ids, p_criterion_requests, p_tag_criteria, p_tag_keys, p_tag_values,
              p_event_requests, p_event_ids, p_event_types, p_data, p_metadata;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.save_requests(text, bigint[], bigint[], integer[], integer[], text[], text[], integer[], text[], text[], jsonb[], jsonb[]) IS
$$Saves many requests in one transaction, each one wholly or not at all, and answers one row each (see orisun.save_result).
One request by hand: orisun.insert_events_with_consistency.

  p_expected_transaction_ids, p_expected_global_ids   one a request: the position its decision saw; (-1,-1) or (0,0) for none
  p_criterion_requests                                one a criterion: the request (from 1) it belongs to
  p_tag_criteria, p_tag_keys, p_tag_values            one a tag: the criterion (from 1) it belongs to, key and value
  p_event_requests, p_event_ids, p_event_types,
  p_data, p_metadata                                  one an event, in request order: the request it belongs to and the event

A request is, in this order,
  a duplicate   when its event ids are stored: as one save with the same types and data (repeated), otherwise event_id_reused,
  stale         when it has criteria and its expected position is that of no stored event, or an event that matches one of its
                criteria lies after it, stored before or accepted from an earlier request of the same call (context_changed),
  accepted      otherwise. A request without criteria is never stale.
The boundary's lock is held until the transaction ends. Raises OR001 for an unknown boundary, OR005 outside READ COMMITTED and
OR007 for arrays of different lengths; what is wrong with an event itself (a constraint of the table) fails the whole call.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.save_requests(text, bigint[], bigint[], integer[], integer[], text[], text[], integer[], text[], text[], jsonb[], jsonb[]);
