-- +goose Up
CREATE TABLE orisun.save_result (
    request        integer NOT NULL,
    outcome        text    NOT NULL,
    transaction_id bigint  NOT NULL,
    global_id      bigint  NOT NULL,
    event_id       text,
    event_type     text
);

COMMENT ON TABLE orisun.save_result IS
$$The shape of what a boundary's save_requests returns: one row a request. It holds no rows.

outcome is one of
  saved            stored now; the position is that of the save's last event
  repeated         stored before, by the same save; the position is the one it got then
  context_changed  nothing stored; the position is that of the latest event of the context after the expected one,
                   or (-1,-1) when the expected position is that of no stored event; event_id and event_type are
                   that event's
  event_id_reused  nothing stored: an event_id is taken by another event; the position is that event's$$;

CREATE FUNCTION orisun_boundary.judge_duplicates(
    p_requests integer[], p_event_requests integer[], p_event_ids text[], p_event_types text[], p_data jsonb[]
) RETURNS TABLE (request integer, same boolean, transaction_id bigint, global_id bigint)
LANGUAGE sql STABLE ROWS 1
AS $$
    WITH event AS (
        SELECT n.request, n.event_id, n.event_type, n.data,
               row_number() OVER (PARTITION BY n.request ORDER BY n.number) AS number,
               count(*) OVER (PARTITION BY n.request) AS size
          FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data)
              WITH ORDINALITY AS n(request, event_id, event_type, data, number)
         WHERE n.request = ANY (p_requests)
    )
    SELECT n.request,
           count(*) = n.size
           AND bool_and(e.global_id = e.transaction_id - 1 + n.number - n.size
                        -- jsonb's = takes 1 for 1.0, a tag does not
                        AND e.event_type = n.event_type AND e.data::text = n.data::text)
           AND (SELECT o.transaction_id FROM orisun_boundary.es_event o
                 WHERE o.global_id = max(e.global_id) - n.size ORDER BY o.global_id
                 LIMIT 1) IS DISTINCT FROM max(e.transaction_id),
           max(e.transaction_id), max(e.global_id)
      FROM event n
     CROSS JOIN LATERAL (SELECT e.* FROM orisun_boundary.es_event e WHERE e.event_id = n.event_id ORDER BY e.event_id
                          LIMIT 1) e
     GROUP BY n.request, n.size
$$;

COMMENT ON FUNCTION orisun_boundary.judge_duplicates(integer[], integer[], text[], text[], jsonb[]) IS
$$For requests of which an event_id is stored: whether all their events are, as one save with the same types and data
and nothing else, and the position of the last one. The other parameters are those of save_requests.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.save_requests(
    p_expected_transaction_ids bigint[],
    p_expected_global_ids      bigint[],
    p_criterion_requests       integer[],
    p_criteria                 jsonb[],
    p_event_requests           integer[],
    p_event_ids                text[],
    p_event_types              text[],
    p_data                     jsonb[],
    p_metadata                 jsonb[]
) RETURNS SETOF orisun.save_result
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_requests integer := cardinality(p_expected_global_ids);
    v_rounds   integer := 1;
    v_ends     integer[] := ARRAY(   -- one a request: the number of its last event
        SELECT n.number FROM unnest(p_event_requests) WITH ORDINALITY AS n(request, number)
         WHERE n.request IS DISTINCT FROM p_event_requests[n.number + 1]);
    -- NULL in the first round, which takes all requests:
    v_taken    integer[];            -- the requests of this round
    v_criteria jsonb[];              -- their criteria
    v_owners   integer[];            -- and the requests that those belong to
    -- What a round finds:
    v_next     bigint;               -- the next global_id
    v_known    integer[];            -- requests of which an event_id is stored
    v_stale    orisun.save_result[]; -- requests whose context changed
    v_waiting  integer[];            -- requests that may depend on earlier ones of this round
    v_open     integer[];            -- requests without an outcome, NULL for none
BEGIN
    IF p_event_requests[1] <> 1 OR p_event_requests[cardinality(p_event_requests)] <> v_requests
       OR cardinality(p_expected_transaction_ids) <> v_requests
       OR cardinality(p_criteria) <> cardinality(p_criterion_requests)
       OR (cardinality(p_event_ids), cardinality(p_event_types), cardinality(p_data), cardinality(p_metadata))
          <> (cardinality(p_event_requests), cardinality(p_event_requests), cardinality(p_event_requests),
              cardinality(p_event_requests)) THEN
        RAISE EXCEPTION 'every request needs one expected position and at least one event with id, type, data and '
                        'metadata'
            USING ERRCODE = 'OR007',
                  HINT = 'Arrays of one kind have one length. For one save by hand use '
                         'orisun.insert_events_with_consistency.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM orisun.lock_positions(orisun_boundary.number()); -- raises the error
    END IF;
    -- From here to the commit no other transaction draws positions in this boundary, and each statement sees all that
    -- was stored before.
    PERFORM pg_advisory_xact_lock(orisun.lock_class(), orisun_boundary.number());

    -- A round decides all open requests at once, except those that may depend on an earlier one of the same round: they
    -- come in the next one, which sees what this one stored. A chain of dependent requests would need many rounds, so
    -- from the fourth on each takes one request.
    LOOP
        -- Positions come from the table, so that a rollback leaves no gap.
        SELECT coalesce((SELECT e.global_id + 1 FROM orisun_boundary.es_event e ORDER BY e.global_id DESC LIMIT 1), 0),
               ARRAY(SELECT n.request
                       FROM unnest(p_event_ids, p_event_requests) AS n(event_id, request)
                      CROSS JOIN LATERAL (SELECT FROM orisun_boundary.es_event e WHERE e.event_id = n.event_id
                                           ORDER BY e.event_id LIMIT 1) e
                      WHERE v_taken IS NULL OR n.request = ANY (v_taken)),
               ARRAY(SELECT (f.owner, 'context_changed', max(f.transaction_id), max(f.global_id), NULL,
                             NULL)::orisun.save_result
                       FROM orisun_boundary.lookup(coalesce(v_criteria, p_criteria),
                                                   coalesce(v_owners, p_criterion_requests),
                                                   p_expected_transaction_ids, p_expected_global_ids, NULL::bigint,
                                                   NULL::bigint, true, 1) f
                      WHERE coalesce(v_criteria, p_criteria) <> '{}'
                      GROUP BY f.owner
                     UNION ALL
                     SELECT (c.request, 'context_changed', -1, -1, NULL, NULL)::orisun.save_result
                       FROM unnest(coalesce(v_owners, p_criterion_requests)) AS c(request)
                      WHERE (p_expected_transaction_ids[c.request], p_expected_global_ids[c.request]) NOT IN ((-1, -1),
                          (0, 0))
                        AND (SELECT e.transaction_id FROM orisun_boundary.es_event e
                              WHERE e.global_id = p_expected_global_ids[c.request] ORDER BY e.global_id LIMIT 1)
                            IS DISTINCT FROM p_expected_transaction_ids[c.request])
          INTO v_next, v_known, v_stale;

        IF coalesce(cardinality(v_taken), v_requests) > 1 THEN
            v_waiting := orisun_boundary.find_dependents(v_taken, coalesce(v_owners, p_criterion_requests),
                                                         coalesce(v_criteria, p_criteria),
                                                         p_event_requests, p_event_ids, p_event_types, p_data);
        ELSE
            v_waiting := '{}';
        END IF;

        IF v_known <> '{}' OR v_stale <> '{}' OR v_waiting <> '{}' OR v_rounds > 1 THEN
            RETURN QUERY
            SELECT k.request, CASE WHEN k.same THEN 'repeated' ELSE 'event_id_reused' END, k.transaction_id,
                   k.global_id, NULL, NULL
              FROM orisun_boundary.judge_duplicates(v_known, p_event_requests, p_event_ids, p_event_types, p_data) k
            UNION ALL
            (SELECT DISTINCT ON (s.request) s.request, s.outcome, s.transaction_id, s.global_id, e.event_id,
                    e.event_type
               FROM unnest(v_stale) s
               LEFT JOIN LATERAL (SELECT * FROM orisun_boundary.es_event e WHERE e.global_id = s.global_id
                                   ORDER BY e.global_id LIMIT 1) e ON true
              WHERE s.request <> ALL (v_known) ORDER BY s.request, s.global_id);
            SELECT array_agg(r.request ORDER BY r.request) FILTER (WHERE r.waits),
                   coalesce(array_agg(r.request ORDER BY r.request) FILTER (WHERE NOT r.waits), '{}')
              INTO v_open, v_taken
              FROM (SELECT o.request, coalesce(o.request = ANY (v_waiting), false)
                        OR v_taken IS NOT NULL AND o.request <> ALL (v_taken) AS waits
                      FROM unnest(coalesce(v_open, ARRAY(SELECT generate_series(1, v_requests)))) AS o(request)
                     WHERE o.request <> ALL (v_known)
                       AND NOT EXISTS (SELECT FROM unnest(v_stale) s WHERE s.request = o.request)) r;
        END IF;

        RETURN QUERY
        WITH stored AS (
            INSERT INTO orisun_boundary.es_event AS t (global_id, transaction_id, date_created, event_id, event_type,
                                                       data, metadata)
            -- Events come in the order of their requests. The event that ends a save has a transaction_id one above its
            -- global_id.
            SELECT v_next + n.place - 1, v_next + n.place + v_ends[n.request] - n.number,
                   (SELECT clock_timestamp()), n.event_id, n.event_type, n.data, n.metadata
              FROM (SELECT n.*, row_number() OVER () AS place
                      FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data, p_metadata)
                               WITH ORDINALITY AS n(request, event_id, event_type, data, metadata, number)
                     WHERE v_taken IS NULL OR n.request = ANY (v_taken)) n
            RETURNING t.transaction_id, t.global_id
        ), save AS (
            SELECT s.transaction_id, s.global_id, row_number() OVER ()::integer AS number FROM stored s
             WHERE s.global_id + 1 = s.transaction_id
        )
        SELECT CASE WHEN v_taken IS NULL THEN s.number ELSE v_taken[s.number] END, 'saved', s.transaction_id,
               s.global_id, NULL, NULL FROM save s;

        EXIT WHEN v_open IS NULL;
        v_rounds := v_rounds + 1;
        v_taken := CASE WHEN v_rounds < 4 THEN v_open ELSE v_open[1:1] END;
        SELECT coalesce(array_agg(c.criterion), '{}'), coalesce(array_agg(c.request), '{}') INTO v_criteria, v_owners
          FROM unnest(p_criteria, p_criterion_requests) AS c(criterion, request) WHERE c.request = ANY (v_taken);
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.save_requests(bigint[], bigint[], integer[], jsonb[], integer[], text[],
    text[], jsonb[], jsonb[]) IS
$$Saves many requests in one transaction, each one wholly or not at all, and returns one row for each (see
orisun.save_result). One request by hand: orisun.insert_events_with_consistency.

  p_expected_transaction_ids, p_expected_global_ids   one a request: the position that its decision saw; (-1,-1) or
                                                      (0,0) for none
  p_criterion_requests, p_criteria                    one a criterion: the request (from 1) it belongs to, and the
                                                      criterion (orisun.read_criteria)
  p_event_requests, p_event_ids, p_event_types,
  p_data, p_metadata                                  one an event, in request order: the request it belongs to and the
                                                      event

A request is, in this order,
  a duplicate   when its event ids are stored: as one save with the same types and data (repeated), otherwise
                event_id_reused,
  stale         when it has criteria and its expected position is that of no stored event, or an event that matches one
                of its criteria lies after it (context_changed),
  accepted      otherwise. A request without criteria is never stale.
Stored is what was committed before and what this call has stored so far. The result is that of one request after the
other, in an order that lets earlier requests go before later ones where they depend on each other. The boundary's lock
is held until the transaction ends. Raises OR005 outside READ COMMITTED and OR007 for arrays of different lengths; what
is wrong with an event itself (a constraint of the table) fails the whole call.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.insert_events_with_consistency(p_boundary text, p_query jsonb, p_events jsonb,
                                                      OUT transaction_id bigint, OUT global_id bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_expected jsonb   := p_query -> 'expected_position';
    v_criteria jsonb[] := orisun.read_criteria(coalesce(p_query -> 'criteria', '[]'));
    v_result   orisun.save_result;
BEGIN
    IF jsonb_typeof(p_events) IS DISTINCT FROM 'array' OR jsonb_array_length(p_events) = 0 THEN
        RAISE EXCEPTION 'events are a JSON array of at least one event'
            USING ERRCODE = 'OR007',
                  HINT = 'For example [{"event_id": "order-1", "event_type": "OrderPlaced", "data": {"order": 1}, '
                         '"metadata": {}}].';
    END IF;

    EXECUTE format('SELECT r.* FROM %s($1, $2, $3, $4, $5, $6, $7, $8, $9) r',
                   orisun.find_boundary_function(p_boundary, 'save_requests'))
       INTO v_result
      USING ARRAY[coalesce((v_expected ->> 'transaction_id')::bigint, -1)],
            ARRAY[coalesce((v_expected ->> 'global_id')::bigint, -1)],
            array_fill(1, ARRAY[cardinality(v_criteria)]), v_criteria,
            array_fill(1, ARRAY[jsonb_array_length(p_events)]),
            ARRAY(SELECT e.value ->> 'event_id' FROM jsonb_array_elements(p_events) e),
            ARRAY(SELECT e.value ->> 'event_type' FROM jsonb_array_elements(p_events) e),
            ARRAY(SELECT e.value -> 'data' FROM jsonb_array_elements(p_events) e),
            ARRAY(SELECT coalesce(e.value -> 'metadata', '{}') FROM jsonb_array_elements(p_events) e);

    transaction_id := v_result.transaction_id;
    global_id := v_result.global_id;
    IF v_result.outcome = 'context_changed' THEN
        RAISE EXCEPTION 'the context changed: nothing is saved'
            USING ERRCODE = 'OR003',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'expected', v_expected,
                                              'actual', jsonb_build_object('transaction_id', transaction_id,
                                                  'global_id', global_id),
                                              'event_id', v_result.event_id, 'event_type', v_result.event_type)::text,
                  HINT = 'Read the context again with orisun.get_matching_events, decide again, and save with its last '
                         'position.';
    ELSIF v_result.outcome = 'event_id_reused' THEN
        RAISE EXCEPTION 'an event_id is taken by another event: nothing is saved'
            USING ERRCODE = 'OR004',
                  DETAIL = jsonb_build_object('boundary', p_boundary,
                                              'taken_at', jsonb_build_object('transaction_id', transaction_id,
                                                  'global_id', global_id))::text,
                  HINT = 'Give a new save new ids; a retry of the same save keeps its ids, types and data.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb) IS
$$Saves one request, given as the API's JSON, and returns the position of its last event. It raises OR003 when the
context changed and OR004 when an event_id is taken by another event; then nothing is saved. The rules are those of
orisun_boundary.save_requests.

  SELECT * FROM orisun.insert_events_with_consistency('orders',
      '{"expected_position": {"transaction_id": 7, "global_id": 6},
        "criteria": [{"tags": [{"key": "order", "value": "1"}]}]}',
      '[{"event_id": "order-1-paid", "event_type": "OrderPaid", "data": {"order": 1}, "metadata": {"by": "psql"}}]')

Leave expected_position out when nothing of the context may exist, criteria when there is no context: '{}'.$$;

-- +goose Down
DROP FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb);
DROP FUNCTION orisun_boundary.save_requests(bigint[], bigint[], integer[], jsonb[], integer[], text[], text[], jsonb[],
                                            jsonb[]);
DROP FUNCTION orisun_boundary.judge_duplicates(integer[], integer[], text[], text[], jsonb[]);
DROP TABLE orisun.save_result;
