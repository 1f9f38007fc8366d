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
AS $$
DECLARE
    v_requests        integer := cardinality(p_expected_global_ids);
    v_next            bigint;    -- the next global_id to give
    v_indexes         oid[];     -- the valid ones of the table
    v_known           integer[]; -- requests of which an event_id is stored
    v_astray          integer[]; -- requests that expect a position where no event is
    v_ends            integer[]; -- each request's last event, counted over all that are given
    v_repeating       boolean := false; -- requests share event_ids
    v_ranks           integer[]; -- each accepted request's last event, counted over all that are accepted; else 0
    v_accepted        integer := 0;
    -- What stands in the way of a request, NULL where nothing does.
    v_outcomes        text[];
    v_transaction_ids bigint[];
    v_global_ids      bigint[];
    -- Request v_repeats[i] shares an event_id with the earlier request v_originals[i].
    v_repeats         integer[];
    v_originals       integer[];
    v_repeat          integer := 1;
    -- A group is the values of a context that one request has and another one's event fulfils: request v_watching[i] conflicts when group
    -- v_watched[i] has an event, v_reached; request v_touching[i] has the event v_events[i] in group v_touched[i].
    v_groups          integer := 0;
    v_watching        integer[];
    v_watched         integer[];
    v_touching        integer[];
    v_touched         integer[];
    v_events          integer[];
    v_reached         integer[];
    v_watch           integer := 1;
    v_touch           integer := 1;
    v_shape           record;
    v_statement       text;
    v_check           text;
    v_row             record;
    v_other           integer;
    v_position        bigint;
    v_now             timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM orisun.lock_positions(%3$s); -- which tells why not
    END IF;
    PERFORM pg_advisory_xact_lock(%5$s, %3$s), set_config('orisun.locked_boundary', '%3$s', true);

    -- From here on nobody else draws positions in this boundary, and each statement sees all that was drawn before. Positions come from
    -- the table, so that a rollback leaves no gap.
    -- Kept plans may stem from when the table was empty: each subquery's order leaves one index to choose.
    SELECT coalesce((SELECT e.global_id + 1 FROM %2$s e ORDER BY e.global_id DESC LIMIT 1), 0),
           ARRAY(SELECT n.request
                   FROM unnest(p_event_ids, p_event_requests) AS n(event_id, request)
                  CROSS JOIN LATERAL (SELECT FROM %2$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1) e),
           ARRAY(SELECT c.request
                   FROM unnest(p_criterion_requests) AS c(request)
                  WHERE (p_expected_transaction_ids[c.request], p_expected_global_ids[c.request]) NOT IN ((-1, -1), (0, 0))
                    AND (SELECT e.transaction_id FROM %2$s e WHERE e.global_id = p_expected_global_ids[c.request] ORDER BY e.global_id LIMIT 1)
                        IS DISTINCT FROM p_expected_transaction_ids[c.request]),
           ARRAY(SELECT x.indexrelid FROM pg_catalog.pg_index x WHERE x.indrelid = %2$L::regclass AND x.indisvalid)
      INTO v_next, v_known, v_astray, v_indexes;
    IF v_requests = 1 THEN
        v_ends := CASE WHEN p_event_requests <@ '{1}' THEN nullif(ARRAY[cardinality(p_event_ids)], '{0}') END;
    ELSE
        SELECT array_agg(e.last ORDER BY e.request), (SELECT count(DISTINCT n.event_id) < count(*) FROM unnest(p_event_ids) AS n(event_id))
          INTO v_ends, v_repeating
          FROM (SELECT r.request, max(r.ordinal)::integer AS last
                  FROM unnest(p_event_requests) WITH ORDINALITY AS r(request, ordinal)
                 GROUP BY r.request) e;
    END IF;
    IF cardinality(v_ends) IS DISTINCT FROM v_requests OR cardinality(p_expected_transaction_ids) <> v_requests
       OR cardinality(p_event_ids) <> cardinality(p_event_requests) OR cardinality(p_event_types) <> cardinality(p_event_requests)
       OR cardinality(p_data) <> cardinality(p_event_requests) OR cardinality(p_metadata) <> cardinality(p_event_requests) THEN
        RAISE EXCEPTION 'every request needs one expected position and at least one event with id, type, data and metadata'
            USING ERRCODE = 'OR007', HINT = 'Arrays of one kind have one length. For one save by hand use orisun.insert_events_with_consistency.';
    END IF;

    -- Duplicates: stored before as one save with the same content, or taken by something else.
    IF v_known <> '{}' THEN
        FOR v_row IN
            SELECT n.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id,
                   count(*) = z.size
                   AND bool_and(e.global_id = e.transaction_id - 1 + n.ordinal - v_ends[n.request]
                                AND e.event_type = n.event_type AND e.data::text = n.data::text) -- jsonb's = takes 1 for 1.0, a tag does not
                   AND (SELECT o.transaction_id FROM %2$s o WHERE o.global_id = max(e.global_id) - z.size ORDER BY o.global_id LIMIT 1)
                       IS DISTINCT FROM max(e.transaction_id) AS same
              FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data) WITH ORDINALITY AS n(request, event_id, event_type, data, ordinal)
             CROSS JOIN LATERAL (SELECT v_ends[n.request] - coalesce(v_ends[n.request - 1], 0) AS size) z
             CROSS JOIN LATERAL (SELECT e.* FROM %2$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1) e
             WHERE n.request = ANY (v_known)
             GROUP BY n.request, z.size
        LOOP
            v_outcomes[v_row.request] := CASE WHEN v_row.same THEN 'repeated' ELSE 'event_id_reused' END;
            v_transaction_ids[v_row.request] := v_row.transaction_id;
            v_global_ids[v_row.request] := v_row.global_id;
        END LOOP;
    END IF;
    IF v_astray <> '{}' THEN
        FOREACH v_other IN ARRAY v_astray LOOP
            IF v_outcomes[v_other] IS NULL THEN
                v_outcomes[v_other] := 'context_changed';
            END IF;
        END LOOP;
    END IF;
    IF v_repeating THEN
        SELECT array_agg(p.repeat ORDER BY p.repeat, p.original), array_agg(p.original ORDER BY p.repeat, p.original)
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
                 WHERE v_outcomes[r.request] IS NULL) c
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
            FOR v_row IN
                SELECT array_agg(g.watching) FILTER (WHERE g.watching > 0) AS watching,
                       array_agg(g.touching) FILTER (WHERE g.touching > 0) AS touching, array_agg(g.event) FILTER (WHERE g.touching > 0) AS events
                  FROM (SELECT c.vals, c.request AS watching, 0 AS touching, 0 AS event FROM unnest(v_shape.contexts) AS c
                        UNION ALL
                        SELECT CASE WHEN cardinality(v_shape.keys) = 1 AND v_shape.keys[1] NOT IN ('event_type', 'eventType') THEN ARRAY[n.data ->> v_shape.keys[1]]
                                    ELSE orisun.tag_values(n.event_type, n.data, v_shape.keys) END,
                               0, n.request, n.ordinal::integer
                          FROM unnest(p_event_requests, p_event_types, p_data) WITH ORDINALITY AS n(request, event_type, data, ordinal)
                         WHERE v_outcomes[n.request] IS NULL) g
                 GROUP BY g.vals
                HAVING max(g.watching) > min(g.touching) FILTER (WHERE g.touching > 0)
            LOOP
                v_groups := v_groups + 1;
                v_watching := v_watching || v_row.watching;
                v_watched := v_watched || array_fill(v_groups, ARRAY[cardinality(v_row.watching)]);
                v_touching := v_touching || v_row.touching;
                v_touched := v_touched || array_fill(v_groups, ARRAY[cardinality(v_row.touching)]);
                v_events := v_events || v_row.events;
            END LOOP;
        END IF;
    END LOOP;

    IF v_outcomes IS NULL AND v_groups = 0 AND NOT v_repeating THEN
        v_ranks := v_ends;
        v_accepted := v_ends[v_requests];
    ELSE
        -- In request order: only what is accepted stands in the way of what comes later.
        IF v_groups > 0 THEN
            SELECT array_agg(w.request ORDER BY w.request), array_agg(w.watched ORDER BY w.request)
              INTO v_watching, v_watched
              FROM unnest(v_watching, v_watched) AS w(request, watched);
            SELECT array_agg(t.request ORDER BY t.event), array_agg(t.touched ORDER BY t.event), array_agg(t.event ORDER BY t.event)
              INTO v_touching, v_touched, v_events
              FROM unnest(v_touching, v_touched, v_events) AS t(request, touched, event);
        END IF;
        FOR v_request IN 1 .. v_requests LOOP
            WHILE v_repeats[v_repeat] <= v_request LOOP
                v_other := v_originals[v_repeat];
                IF v_ranks[v_other] > 0 AND v_outcomes[v_request] IS DISTINCT FROM 'event_id_reused' THEN
                    v_outcomes[v_request] := CASE
                        WHEN p_event_ids[coalesce(v_ends[v_request - 1], 0) + 1 : v_ends[v_request]]
                           = p_event_ids[coalesce(v_ends[v_other - 1], 0) + 1 : v_ends[v_other]]
                         AND p_event_types[coalesce(v_ends[v_request - 1], 0) + 1 : v_ends[v_request]]
                           = p_event_types[coalesce(v_ends[v_other - 1], 0) + 1 : v_ends[v_other]]
                         AND p_data[coalesce(v_ends[v_request - 1], 0) + 1 : v_ends[v_request]]::text
                           = p_data[coalesce(v_ends[v_other - 1], 0) + 1 : v_ends[v_other]]::text
                        THEN 'repeated' ELSE 'event_id_reused' END;
                    v_transaction_ids[v_request] := v_next + v_ranks[v_other];
                    v_global_ids[v_request] := v_next + v_ranks[v_other] - 1;
                END IF;
                v_repeat := v_repeat + 1;
            END LOOP;
            WHILE v_watching[v_watch] <= v_request LOOP
                v_other := p_event_requests[v_reached[v_watched[v_watch]]];
                IF v_other < v_request AND coalesce(v_outcomes[v_request], 'context_changed') = 'context_changed' THEN
                    v_position := v_next + v_ranks[v_other] + v_reached[v_watched[v_watch]] - v_ends[v_other] - 1;
                    v_outcomes[v_request] := 'context_changed';
                    IF v_position > coalesce(v_global_ids[v_request], -1) THEN
                        v_transaction_ids[v_request] := v_next + v_ranks[v_other];
                        v_global_ids[v_request] := v_position;
                    END IF;
                END IF;
                v_watch := v_watch + 1;
            END LOOP;
            IF v_outcomes[v_request] IS NULL THEN
                v_accepted := v_accepted + v_ends[v_request] - coalesce(v_ends[v_request - 1], 0);
                v_ranks[v_request] := v_accepted;
                WHILE v_touching[v_touch] <= v_request LOOP
                    IF v_touching[v_touch] = v_request THEN
                        v_reached[v_touched[v_touch]] := v_events[v_touch];
                    END IF;
                    v_touch := v_touch + 1;
                END LOOP;
            ELSE
                v_ranks[v_request] := 0;
            END IF;
        END LOOP;
    END IF;

    IF v_accepted > 0 THEN
        v_now := clock_timestamp();
        INSERT INTO %2$s (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
        SELECT v_next + v_ranks[n.request] + n.ordinal - v_ends[n.request] - 1, v_next + v_ranks[n.request], v_now,
               n.event_id, n.event_type, n.data, n.metadata
          FROM unnest(p_event_requests, p_event_ids, p_event_types, p_data, p_metadata) WITH ORDINALITY AS n(request, event_id, event_type, data, metadata, ordinal)
         WHERE v_ranks[n.request] > 0;
        -- Who inserts by hand later in this transaction draws from the sequence, which the trigger sets.
        PERFORM set_config('orisun.locked_boundary', '', true);
    END IF;

    RETURN QUERY
    SELECT r.request::integer, coalesce(v_outcomes[r.request], 'saved'),
           CASE WHEN r.rank > 0 THEN v_next + r.rank ELSE coalesce(v_transaction_ids[r.request], -1) END,
           CASE WHEN r.rank > 0 THEN v_next + r.rank - 1 ELSE coalesce(v_global_ids[r.request], -1) END
      FROM unnest(v_ranks) WITH ORDINALITY AS r(rank, request);
END
$$
$template$, orisun.saving_function(p_boundary, 'requests'), v_boundary.events, v_boundary.number, p_boundary, orisun.lock_class());
END
$compose$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_saving(text) IS $$The CREATE FUNCTION of a boundary's own {schema}.{boundary}_orisun_save_requests, which is made with the boundary's tables. Static statements over
one boundary's table keep their plans for as long as a session lives: to plan them anew takes three times as long as to save an event.

Who calls it sees to its settings, since to set them anew at each call costs as much as to insert an event: orisun.save_requests does so for people, the
server for its sessions. search_path is pg_catalog, plan_cache_mode force_generic_plan, and enable_seqscan, enable_bitmapscan, enable_sort and jit are off.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_saving(text);
