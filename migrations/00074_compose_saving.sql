-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_saving(p_boundary text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $compose$
DECLARE
    v_boundary record := orisun.find_boundary(p_boundary);
BEGIN
    RETURN format($template$
CREATE OR REPLACE FUNCTION %1$s(
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
DECLARE
    v_requests        integer := cardinality(p_expected_global_ids);
    v_next            bigint;                                             -- the next global_id to give
    v_firsts          integer[];                                          -- the first event of each request, counted over all
    v_sizes           integer[];                                          -- its number of events
    v_starts          bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);  -- the global_id of its first event; -1: not stored now
    v_outcomes        text[]    := array_fill('saved'::text, ARRAY[v_requests]);
    v_transaction_ids bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);
    v_global_ids      bigint[]  := array_fill(-1::bigint, ARRAY[v_requests]);
    v_known           integer[];                                          -- requests of which an event_id is stored
    v_astray          integer[];                                          -- requests that expect a position where no event is
    v_repeating       boolean;                                            -- requests share event_ids
    v_repeats         integer[] := '{}';                                  -- request v_repeats[i] shares an event_id
    v_originals       integer[] := '{}';                                  --   with the earlier request v_originals[i]
    v_dependents      integer[] := '{}';                                  -- request v_dependents[i] would conflict
    v_blockers        integer[] := '{}';                                  --   with the earlier request v_blockers[i]
    v_blocking        integer[] := '{}';                                  --   for its event v_blocking[i], counted over all
    v_indexes         oid[];                                              -- the valid ones of the table
    v_shape           record;
    v_statement       text;
    v_check           text;
    v_row             record;
    v_repeat          integer := 1;
    v_block           integer := 1;
    v_other           integer;
    v_position        bigint;
    v_now             timestamptz;
BEGIN
    PERFORM orisun.lock_positions(%3$s);

    -- From here on nobody else draws positions in this boundary, and each statement sees all that was drawn before.
    -- Kept plans may stem from when the table was empty: each subquery's order leaves one index to choose.
    SELECT s.firsts, s.sizes, coalesce((SELECT e.global_id + 1 FROM %2$s e ORDER BY e.global_id DESC LIMIT 1), 0),
           ARRAY(SELECT n.request
                   FROM unnest(p_event_ids, p_event_requests) AS n(event_id, request)
                  CROSS JOIN LATERAL (SELECT FROM %2$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1) e),
           ARRAY(SELECT c.request
                   FROM unnest(p_criterion_requests) AS c(request)
                  WHERE (p_expected_transaction_ids[c.request], p_expected_global_ids[c.request]) NOT IN ((-1, -1), (0, 0))
                    AND (SELECT e.transaction_id FROM %2$s e WHERE e.global_id = p_expected_global_ids[c.request] ORDER BY e.global_id LIMIT 1)
                        IS DISTINCT FROM p_expected_transaction_ids[c.request]),
           ARRAY(SELECT x.indexrelid FROM pg_index x WHERE x.indrelid = %2$L::regclass AND x.indisvalid),
           v_requests > 1 AND (SELECT count(DISTINCT n.event_id) < count(*) FROM unnest(p_event_ids) AS n(event_id))
      INTO v_firsts, v_sizes, v_next, v_known, v_astray, v_indexes, v_repeating
      FROM (SELECT array_agg(e.first ORDER BY e.request) AS firsts, array_agg(e.size ORDER BY e.request) AS sizes
              FROM (SELECT r.request, min(r.ordinal)::integer AS first, count(*)::integer AS size
                      FROM unnest(p_event_requests) WITH ORDINALITY AS r(request, ordinal)
                     GROUP BY r.request) e) s;
    IF cardinality(v_sizes) IS DISTINCT FROM v_requests OR cardinality(p_expected_transaction_ids) <> v_requests
       OR cardinality(p_event_ids) <> cardinality(p_event_requests) OR cardinality(p_event_types) <> cardinality(p_event_requests)
       OR cardinality(p_data) <> cardinality(p_event_requests) OR cardinality(p_metadata) <> cardinality(p_event_requests) THEN
        RAISE EXCEPTION 'every request needs one expected position and at least one event with id, type, data and metadata'
            USING ERRCODE = 'OR007', HINT = 'Arrays of one kind have one length. For one save by hand use orisun.insert_events_with_consistency.';
    END IF;

    -- Duplicates: stored before as one save with the same content, or taken by something else.
    IF v_known <> '{}' THEN
        FOR v_row IN
            SELECT n.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id,
                   count(*) = v_sizes[n.request]
                   AND bool_and(e.global_id = e.transaction_id - v_sizes[n.request] + n.ordinal - v_firsts[n.request]
                                AND e.event_type = n.event_type AND e.data::text = n.data::text) -- jsonb's = takes 1 for 1.0, a tag does not
                   AND (SELECT o.transaction_id FROM %2$s o WHERE o.global_id = max(e.global_id) - v_sizes[n.request] ORDER BY o.global_id LIMIT 1)
                       IS DISTINCT FROM max(e.transaction_id) AS same
              FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data) WITH ORDINALITY AS n(request, event_id, event_type, data, ordinal)
             CROSS JOIN LATERAL (SELECT e.* FROM %2$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1) e
             WHERE n.request = ANY (v_known)
             GROUP BY n.request
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
    IF v_repeating THEN
        SELECT coalesce(array_agg(p.repeat ORDER BY p.repeat, p.original), '{}'), coalesce(array_agg(p.original ORDER BY p.repeat, p.original), '{}')
          INTO v_repeats, v_originals
          FROM (SELECT DISTINCT r.request AS repeat, o.request AS original
                  FROM unnest(p_event_ids, p_event_requests) AS r(event_id, request)
                  JOIN unnest(p_event_ids, p_event_requests) AS o(event_id, request) ON o.event_id = r.event_id AND o.request < r.request) p;
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
          FROM (SELECT r.request, coalesce(t.keys, '{}') AS keys, coalesce(t.vals, '{}') AS vals
                  FROM unnest(p_criterion_requests) WITH ORDINALITY AS r(request, criterion)
                  LEFT JOIN (SELECT g.criterion, array_agg(g.key ORDER BY g.key, g.value) AS keys, array_agg(g.value ORDER BY g.key, g.value) AS vals
                               FROM unnest(p_tag_criteria, p_tag_keys, p_tag_values) AS g(criterion, key, value)
                              GROUP BY g.criterion) t ON t.criterion = r.criterion
                 WHERE v_outcomes[r.request] = 'saved') c
         GROUP BY c.keys
    LOOP
        v_statement := 'orisun_' || md5(format('%%s %%s %%s', v_indexes, v_shape.keys, cardinality(v_shape.contexts) > 1));
        FOREACH v_check IN ARRAY CASE WHEN strpos(current_setting('orisun.kept_statements', true), v_statement) > 0
            THEN ARRAY[format('EXECUTE %%I(%%L)', v_statement, v_shape.contexts)]
            ELSE orisun.compose_checks(%4$L, v_statement, v_shape.keys, v_shape.contexts) END
        LOOP
            FOR v_row IN EXECUTE v_check LOOP
                v_outcomes[v_row.request] := 'context_changed';
                v_transaction_ids[v_row.request] := greatest(v_transaction_ids[v_row.request], v_row.transaction_id);
                v_global_ids[v_row.request] := greatest(v_global_ids[v_row.request], v_row.global_id);
            END LOOP;
        END LOOP;
        IF v_requests > 1 THEN
            SELECT v_dependents || array_agg(b.dependent), v_blockers || array_agg(b.blocker), v_blocking || array_agg(b.ordinal)
              INTO v_dependents, v_blockers, v_blocking
              FROM (SELECT c.request AS dependent, e.request AS blocker, max(e.ordinal)::integer AS ordinal
                      FROM unnest(v_shape.contexts) AS c
                      JOIN (SELECT n.request, n.ordinal, orisun.tag_values(n.event_type, n.data, v_shape.keys) AS vals
                              FROM unnest(p_event_requests, p_event_types, p_data) WITH ORDINALITY AS n(request, event_type, data, ordinal)) e
                        ON e.vals = c.vals AND e.request < c.request
                     GROUP BY c.request, e.request) b;
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
                     AND p_data[v_firsts[v_request] : v_firsts[v_request] + v_sizes[v_request] - 1]::text
                       = p_data[v_firsts[v_other] : v_firsts[v_other] + v_sizes[v_other] - 1]::text
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
        v_now := clock_timestamp();
        INSERT INTO %2$s (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
        SELECT v_starts[n.request] + n.ordinal - v_firsts[n.request], v_transaction_ids[n.request], v_now, n.event_id, n.event_type, n.data, n.metadata
          FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data, p_metadata) WITH ORDINALITY AS n(request, event_id, event_type, data, metadata, ordinal)
         WHERE v_starts[n.request] >= 0
         ORDER BY n.ordinal;
        -- Positions come from the table, so that a rollback leaves no gap; the sequence follows, for rows inserted by hand.
        PERFORM setval(%5$L, v_next - 1);
    END IF;

    RETURN QUERY
    SELECT r.request::integer, r.outcome, r.transaction_id, r.global_id
      FROM unnest(v_outcomes, v_transaction_ids, v_global_ids) WITH ORDINALITY AS r(outcome, transaction_id, global_id, request)
     ORDER BY r.request;
END
$$
$template$, orisun.saving_function(p_boundary), v_boundary.events, v_boundary.number, p_boundary, v_boundary.positions);
END
$compose$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_saving(text) IS $$The CREATE FUNCTION of a boundary's own {schema}.{boundary}_orisun_save_requests, which orisun.save_requests calls. It is made with the
boundary's tables. Static statements over one boundary's table keep their plans for as long as a session lives: to plan them anew takes three times as long
as to save an event.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_saving(text);
