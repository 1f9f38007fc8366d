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
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_requests        integer := cardinality(p_expected_global_ids);
    v_boundary        record;
    v_next            bigint;                                             -- the next global_id to give
    v_firsts          integer[];                                          -- the first event of each request, counted over all
    v_sizes           integer[];                                          -- its number of events
    v_starts          bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);  -- the global_id of its first event; -1: not stored now
    v_outcomes        text[]    := array_fill('saved'::text, ARRAY[v_requests]);
    v_transaction_ids bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);
    v_global_ids      bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);
    v_known           integer[];                                          -- requests of which an event_id is stored
    v_astray          integer[];                                          -- requests that expect a position where no event is
    v_repeats         integer[] := '{}';                                  -- request v_repeats[i] shares an event_id
    v_originals       integer[] := '{}';                                  --   with the earlier request v_originals[i]
    v_dependents      integer[] := '{}';                                  -- request v_dependents[i] would conflict
    v_blockers        integer[] := '{}';                                  --   with the earlier request v_blockers[i]
    v_blocking        integer[] := '{}';                                  --   for its event v_blocking[i], counted over all
    v_indexes         orisun.boundary_index[];                            -- those of the boundary
    v_shape           record;
    v_part            record;
    v_statement       text;
    v_row             record;
    v_repeat          integer := 1;
    v_block           integer := 1;
    v_other           integer;
    v_position        bigint;
BEGIN
    SELECT array_agg(e.first ORDER BY e.request), array_agg(e.size ORDER BY e.request)
      INTO v_firsts, v_sizes
      FROM (SELECT r.request, min(r.ordinal)::integer AS first, count(*)::integer AS size
              FROM unnest(p_event_requests) WITH ORDINALITY AS r(request, ordinal)
             GROUP BY r.request) e;
    IF cardinality(v_sizes) IS DISTINCT FROM v_requests OR cardinality(p_expected_transaction_ids) <> v_requests
       OR cardinality(p_event_ids) <> cardinality(p_event_requests) OR cardinality(p_event_types) <> cardinality(p_event_requests)
       OR cardinality(p_data) <> cardinality(p_event_requests) OR cardinality(p_metadata) <> cardinality(p_event_requests) THEN
        RAISE EXCEPTION 'every request needs one expected position and at least one event with id, type, data and metadata'
            USING ERRCODE = 'OR007', HINT = 'Arrays of one kind have one length. For one save by hand use orisun.insert_events_with_consistency.';
    END IF;

    v_boundary := orisun.find_boundary(p_boundary);
    PERFORM orisun.lock_positions(v_boundary.number);

    -- From here on nobody else draws positions in this boundary, and each statement sees all that was drawn before.
    EXECUTE format($sql$
        SELECT coalesce((SELECT max(e.global_id) + 1 FROM %1$s e), 0),
               ARRAY(SELECT DISTINCT n.request
                       FROM unnest($1, $2) AS n(event_id, request)
                      CROSS JOIN LATERAL (SELECT FROM %1$s e WHERE e.event_id = n.event_id LIMIT 1) e),
               ARRAY(SELECT DISTINCT c.request
                       FROM unnest($3) AS c(request)
                      WHERE ($4[c.request], $5[c.request]) NOT IN ((-1, -1), (0, 0))
                        AND NOT EXISTS (SELECT FROM %1$s e WHERE e.global_id = $5[c.request] AND e.transaction_id = $4[c.request]))
        $sql$, v_boundary.events)
       INTO v_next, v_known, v_astray
      USING p_event_ids, p_event_requests, p_criterion_requests, p_expected_transaction_ids, p_expected_global_ids;

    -- Duplicates: stored before as one save with the same content, or taken by something else.
    IF v_known <> '{}' THEN
        FOR v_row IN EXECUTE format($sql$
            SELECT n.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id,
                   count(*) = $5[n.request]
                   AND bool_and(e.global_id = e.transaction_id - $5[n.request] + n.ordinal - $6[n.request]
                                AND e.event_type = n.event_type AND e.data = n.data)
                   AND NOT EXISTS (SELECT FROM %1$s o WHERE o.transaction_id = max(e.transaction_id)
                                      AND o.global_id = max(e.global_id) - $5[n.request]) AS same
              FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS n(request, event_id, event_type, data, ordinal)
             CROSS JOIN LATERAL (SELECT e.* FROM %1$s e WHERE e.event_id = n.event_id LIMIT 1) e
             WHERE n.request = ANY ($7)
             GROUP BY n.request
            $sql$, v_boundary.events)
            USING p_event_requests, p_event_ids, p_event_types, p_data, v_sizes, v_firsts, v_known
        LOOP
            v_outcomes[v_row.request] := CASE WHEN v_row.same THEN 'repeated' ELSE 'event_id_reused' END;
            v_transaction_ids[v_row.request] := v_row.transaction_id;
            v_global_ids[v_row.request] := v_row.global_id;
        END LOOP;
    END IF;
    FOREACH v_other IN ARRAY v_astray LOOP
        IF v_outcomes[v_other] = 'saved' THEN
            v_outcomes[v_other] := 'context_changed';
        END IF;
    END LOOP;
    IF v_requests > 1 THEN
        SELECT coalesce(array_agg(p.repeat ORDER BY p.repeat, p.original), '{}'), coalesce(array_agg(p.original ORDER BY p.repeat, p.original), '{}')
          INTO v_repeats, v_originals
          FROM (SELECT DISTINCT r.request AS repeat, o.request AS original
                  FROM unnest(p_event_ids, p_event_requests) AS r(event_id, request)
                  JOIN unnest(p_event_ids, p_event_requests) AS o(event_id, request) ON o.event_id = r.event_id AND o.request < r.request) p;
    END IF;

    IF p_criterion_requests <> '{}' THEN
        v_indexes := orisun.find_indexes(p_boundary);
    END IF;
    -- Contexts, one statement for each shape (and for each set of indexes, where that depends on values): stored events after the expected position, then events of earlier requests.
    FOR v_shape IN
        SELECT c.keys,
               array_agg(ROW(c.request,
                             CASE WHEN (p_expected_transaction_ids[c.request], p_expected_global_ids[c.request]) = (0, 0) THEN -1
                                  ELSE p_expected_transaction_ids[c.request] END,
                             CASE WHEN (p_expected_transaction_ids[c.request], p_expected_global_ids[c.request]) = (0, 0) THEN -1
                                  ELSE p_expected_global_ids[c.request] END,
                             c.vals)::orisun.context) AS contexts
          FROM (SELECT r.request, coalesce(t.keys, '{}') AS keys, t.vals
                  FROM unnest(p_criterion_requests) WITH ORDINALITY AS r(request, criterion)
                  LEFT JOIN (SELECT g.criterion, array_agg(g.key ORDER BY g.key, g.value) AS keys, array_agg(g.value ORDER BY g.key, g.value) AS vals
                               FROM unnest(p_tag_criteria, p_tag_keys, p_tag_values) AS g(criterion, key, value)
                              GROUP BY g.criterion) t ON t.criterion = r.criterion
                 WHERE v_outcomes[r.request] = 'saved') c
         GROUP BY c.keys
    LOOP
        FOR v_part IN SELECT p.indexes, p.contexts FROM orisun.split_contexts(v_indexes, v_shape.keys, v_shape.contexts) p LOOP
            v_statement := orisun.compose_latest(v_boundary.events, v_part.indexes, v_shape.keys);
            IF v_part.indexes = '{}' AND v_shape.keys <> '{}' AND cardinality(v_part.contexts) > 1 THEN
                -- No index: then the events after the earliest position are read once for all contexts, not once for each.
                v_statement := format($sql$
                    SELECT c.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id
                      FROM unnest($1) AS c
                      JOIN %s e ON e.global_id > c.global_id AND %s
                     WHERE e.global_id > (SELECT min(c.global_id) FROM unnest($1) AS c)
                     GROUP BY c.request
                    $sql$, v_boundary.events, orisun.criterion_predicate(v_shape.keys, 'c.vals', 0));
            END IF;
            FOR v_row IN EXECUTE v_statement USING v_part.contexts LOOP
                v_outcomes[v_row.request] := 'context_changed';
                v_transaction_ids[v_row.request] := greatest(v_transaction_ids[v_row.request], v_row.transaction_id);
                v_global_ids[v_row.request] := greatest(v_global_ids[v_row.request], v_row.global_id);
            END LOOP;
        END LOOP;
        IF v_requests > 1 THEN
            EXECUTE format($sql$
                SELECT $5 || array_agg(b.dependent), $6 || array_agg(b.blocker), $7 || array_agg(b.ordinal)
                  FROM (SELECT c.request AS dependent, e.request AS blocker, max(e.ordinal)::integer AS ordinal
                          FROM unnest($1) AS c
                          JOIN unnest($2, $3, $4) WITH ORDINALITY AS e(request, event_type, data, ordinal) ON e.request < c.request AND %s
                         GROUP BY c.request, e.request) b
                $sql$, orisun.criterion_predicate(v_shape.keys, 'c.vals', 0))
               INTO v_dependents, v_blockers, v_blocking
              USING v_shape.contexts, p_event_requests, p_event_types, p_data, v_dependents, v_blockers, v_blocking;
        END IF;
    END LOOP;
    IF v_dependents <> '{}' THEN
        SELECT array_agg(b.dependent ORDER BY b.dependent), array_agg(b.blocker ORDER BY b.dependent), array_agg(b.ordinal ORDER BY b.dependent)
          INTO v_dependents, v_blockers, v_blocking
          FROM unnest(v_dependents, v_blockers, v_blocking) AS b(dependent, blocker, ordinal);
    END IF;

    -- In request order: only what is accepted stands in the way of what comes later.
    FOR v_request IN 1 .. v_requests LOOP
        WHILE v_repeats[v_repeat] <= v_request LOOP
            v_other := v_originals[v_repeat];
            IF v_repeats[v_repeat] = v_request AND v_starts[v_other] >= 0 AND v_outcomes[v_request] <> 'event_id_reused' THEN
                v_outcomes[v_request] := CASE
                    WHEN p_event_ids[v_firsts[v_request] : v_firsts[v_request] + v_sizes[v_request] - 1]
                       = p_event_ids[v_firsts[v_other] : v_firsts[v_other] + v_sizes[v_other] - 1]
                     AND p_event_types[v_firsts[v_request] : v_firsts[v_request] + v_sizes[v_request] - 1]
                       = p_event_types[v_firsts[v_other] : v_firsts[v_other] + v_sizes[v_other] - 1]
                     AND p_data[v_firsts[v_request] : v_firsts[v_request] + v_sizes[v_request] - 1]
                       = p_data[v_firsts[v_other] : v_firsts[v_other] + v_sizes[v_other] - 1]
                    THEN 'repeated' ELSE 'event_id_reused' END;
                v_transaction_ids[v_request] := v_transaction_ids[v_other];
                v_global_ids[v_request] := v_global_ids[v_other];
            END IF;
            v_repeat := v_repeat + 1;
        END LOOP;
        WHILE v_dependents[v_block] <= v_request LOOP
            v_other := v_blockers[v_block];
            IF v_dependents[v_block] = v_request AND v_starts[v_other] >= 0 AND v_outcomes[v_request] IN ('saved', 'context_changed') THEN
                v_position := v_starts[v_other] + v_blocking[v_block] - v_firsts[v_other];
                v_outcomes[v_request] := 'context_changed';
                IF v_position > v_global_ids[v_request] THEN
                    v_transaction_ids[v_request] := v_transaction_ids[v_other];
                    v_global_ids[v_request] := v_position;
                END IF;
            END IF;
            v_block := v_block + 1;
        END LOOP;
        IF v_outcomes[v_request] = 'saved' THEN
            v_starts[v_request] := v_next;
            v_next := v_next + v_sizes[v_request];
            v_transaction_ids[v_request] := v_next;
            v_global_ids[v_request] := v_next - 1;
        END IF;
    END LOOP;

    IF 'saved' = ANY (v_outcomes) THEN
        EXECUTE format($sql$
            INSERT INTO %s (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
            SELECT $1[n.request] + n.ordinal - $2[n.request], $3[n.request], $4, n.event_id, n.event_type, n.data, n.metadata
              FROM unnest($5, $6, $7, $8, $9) WITH ORDINALITY AS n(request, event_id, event_type, data, metadata, ordinal)
             WHERE $1[n.request] >= 0
             ORDER BY n.ordinal
            $sql$, v_boundary.events)
            USING v_starts, v_firsts, v_transaction_ids, clock_timestamp(), p_event_requests, p_event_ids, p_event_types, p_data, p_metadata;
        -- Positions come from the table, so that a rollback leaves no gap; the sequence follows, for rows inserted by hand.
        PERFORM setval(v_boundary.positions, v_next - 1);
    END IF;

    RETURN QUERY
    SELECT r.request::integer, r.outcome, r.transaction_id, r.global_id
      FROM unnest(v_outcomes, v_transaction_ids, v_global_ids) WITH ORDINALITY AS r(outcome, transaction_id, global_id, request)
     ORDER BY r.request;
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
