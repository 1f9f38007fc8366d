-- +goose Up
CREATE TABLE orisun.save_result (
    request        integer NOT NULL,
    outcome        text    NOT NULL,
    transaction_id bigint  NOT NULL,
    global_id      bigint  NOT NULL
);

COMMENT ON TABLE orisun.save_result IS $$The shape of what orisun.save_requests returns, one row a request, in request order. It holds no rows.

outcome is one of
  saved            stored now; the position is that of the save's last event
  repeated         stored before, by the same save; the position is the one it got then
  context_changed  nothing stored; the position is that of the latest event of the context after the expected one,
                   or (-1,-1) when the expected position is that of no stored event
  event_id_reused  nothing stored: an event_id is taken by another event; the position is that event's$$;

CREATE TYPE orisun.context AS (
    request        integer,
    transaction_id bigint,
    global_id      bigint,
    vals           text[]
);

COMMENT ON TYPE orisun.context IS $$A criterion while its latest event is looked for: whose it is (the number of a save's request, or of the criterion itself), the position
after which to look, and the values of its tags in the order of the keys. Inside orisun.save_requests and orisun.get_latest_by_criteria only.$$;

CREATE TYPE orisun.context_part AS (
    indexes  orisun.boundary_index[],
    contexts orisun.context[]
);

COMMENT ON TYPE orisun.context_part IS $$Contexts of one shape that the same indexes serve, none perhaps: what orisun.split_contexts answers.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.split_contexts(p_indexes orisun.boundary_index[], p_keys text[], p_contexts orisun.context[]) RETURNS SETOF orisun.context_part
LANGUAGE plpgsql IMMUTABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_indexes orisun.boundary_index[] := orisun.choose_indexes(p_indexes, p_keys, NULL);
    v_index   orisun.boundary_index;
BEGIN
    FOREACH v_index IN ARRAY v_indexes LOOP
        IF v_index.depends_on_values THEN
            RETURN QUERY
            SELECT c.indexes, array_agg(c.context)
              FROM (SELECT orisun.choose_indexes(v_indexes, p_keys, c.vals) AS indexes, c AS context FROM unnest(p_contexts) c) c
             GROUP BY c.indexes;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY SELECT v_indexes, p_contexts;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.split_contexts(orisun.boundary_index[], text[], orisun.context[]) IS $$Contexts with the same keys, by which of the indexes serve them. Typed and partial indexes serve some values only; without such it is one part.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.keep_statement(p_name text, p_types text, p_statement text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_kept  text := coalesce(current_setting('orisun.kept_statements', true), '');
    v_begun text := format('[from %s on] ', extract(epoch FROM now()));
    v_old   text;
BEGIN
    IF strpos(v_kept, p_name) > 0 THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_prepared_statements s WHERE s.name = p_name) THEN
        -- PREPARE and DEALLOCATE outlive a rollback, the setting does not. So a statement that it may name again stays: after the transaction
        -- that began the list anew, that is none which it does not name now.
        IF NOT starts_with(v_kept, v_begun) AND (SELECT count(*) FROM pg_prepared_statements s WHERE s.name ~ '^orisun_[0-9a-f]{32}$') >= 128 THEN
            FOR v_old IN SELECT s.name FROM pg_prepared_statements s WHERE s.name ~ '^orisun_[0-9a-f]{32}$' AND strpos(v_kept, s.name) = 0 LOOP
                EXECUTE format('DEALLOCATE %I', v_old);
            END LOOP;
        END IF;
        EXECUTE format('PREPARE %I (%s) AS %s', p_name, p_types, p_statement);
    END IF;
    -- Shapes of criteria come from clients, so the list is bounded. What is used finds its way back into it, still prepared.
    IF length(v_kept) >= 64 * length(p_name) THEN
        v_kept := v_begun;
    END IF;
    PERFORM set_config('orisun.kept_statements', v_kept || p_name, false);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.keep_statement(text, text, text) IS $$Prepares a statement, unless this session has done so before. p_name is orisun_ and the MD5 of all that the statement is
composed from. PostgreSQL plans what a function composes anew at every call, which takes several times as long as to run it; a prepared statement
keeps its plan until an index or the statistics change. orisun.kept_statements (SHOW it) names at most 64: who finds a name there need not ask. At most 128
stay in a session, and what one transaction prepares beyond. DEALLOCATE ALL in the session breaks the next EXECUTE (26000); DISCARD ALL does not.$$;

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

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_check(p_events regclass, p_indexes orisun.boundary_index[], p_keys text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_predicate text := orisun.criterion_predicate(p_keys, 'c.vals', 0);
BEGIN
    IF p_indexes <> '{}' THEN
        RETURN format($sql$
            SELECT c.request, e.transaction_id, e.global_id
              FROM unnest($1) AS c
             CROSS JOIN LATERAL (SELECT e.transaction_id, e.global_id FROM %s e
                                  WHERE (e.transaction_id, e.global_id) > (c.transaction_id, c.global_id) AND %s AND %s
                                  ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1) e
            $sql$, p_events, v_predicate, orisun.index_predicate(p_indexes, p_keys, 'c.vals', 0));
    END IF;
    RETURN format($sql$
        SELECT c.request, e.transaction_id, e.global_id
          FROM unnest($1) AS c
         CROSS JOIN LATERAL (SELECT e.transaction_id, e.global_id FROM %s e
                              WHERE e.global_id > c.global_id AND %s
                              ORDER BY e.global_id DESC LIMIT 1) e
        $sql$, p_events, v_predicate);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_check(regclass, orisun.boundary_index[], text[]) IS $$The statement that finds, for contexts with the same keys ($1, orisun.context[]), the position of the latest event after the expected
one that matches. With indexes, as orisun.split_contexts gives them, the order is by the pair, which the primary key does not have: see
orisun.compose_reading. Without, it reads the events after the position, from the last one back to a match.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_checks(p_boundary text, p_name text, p_keys text[], p_contexts orisun.context[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_depends    boolean  := EXISTS (SELECT FROM unnest(orisun.choose_indexes(v_indexes, p_keys, NULL)) i WHERE i.depends_on_values);
    v_checks     text[]   := '{}';
    v_name       text     := p_name;
    v_part       record;
    v_statement  text;
BEGIN
    FOR v_part IN SELECT p.indexes, p.contexts FROM orisun.split_contexts(v_indexes, p_keys, p_contexts) p LOOP
        IF v_part.indexes = '{}' AND p_keys <> '{}' AND cardinality(v_part.contexts) > 1 THEN
            -- A join, whose best plan is another one for each number of events to read.
            v_checks := v_checks || orisun.compose_tail_check(v_events, p_keys, format('%L::orisun.context[]', v_part.contexts));
            CONTINUE;
        END IF;
        v_statement := orisun.compose_check(v_events, v_part.indexes, p_keys);
        IF v_depends THEN
            v_name := 'orisun_' || md5(v_statement);
        END IF;
        PERFORM orisun.keep_statement(v_name, 'orisun.context[]', v_statement);
        v_checks := v_checks || format('EXECUTE %I(%L)', v_name, v_part.contexts);
    END LOOP;
    RETURN v_checks;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_checks(text, text, text[], orisun.context[]) IS $$The statements, to be executed one after the other, that find for contexts with the same keys what orisun.compose_check says. Where the
choice of indexes does not depend on values it is one, kept under p_name: who finds p_name kept need not ask.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_tail_check(p_events regclass, p_keys text[], p_contexts text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($sql$
        SELECT c.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id
          FROM unnest(%1$s) AS c
          JOIN %2$s e ON e.global_id > c.global_id AND %3$s
         WHERE e.global_id > (SELECT min(c.global_id) FROM unnest(%1$s) AS c)
         GROUP BY c.request
        $sql$, p_contexts, p_events, orisun.criterion_predicate(p_keys, 'c.vals', 0))
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_tail_check(regclass, text[], text) IS $$What orisun.compose_check does, for many contexts (an SQL expression) that no index serves: the events after the earliest position are read
once for all of them, not once for each.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_plain_saving(p_boundary text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $compose$
DECLARE
    v_boundary record := orisun.find_boundary(p_boundary);
    v_indexes  orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_shape    record;
    v_wanted   text; -- the values of a request's criterion
    v_given    text; -- what an event has for its keys
    v_shapes   text := '';
    -- Whoever is first in the way keeps all of them from being saved. EXISTS would lose its order, or become a join, by which a kept plan from when the table
    -- held one event reads all of it. Where the table ended tells an answer its request.
    v_insert   text := format($sql$
            RETURN QUERY
            INSERT INTO %1$s AS t (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
            SELECT l.next + n.request - 1, l.next + n.request, l.now, n.event_id, n.event_type, n.data, n.metadata
              FROM (SELECT coalesce((SELECT e.global_id + 1 FROM %1$s e ORDER BY e.global_id DESC LIMIT 1), 0), clock_timestamp()
                     WHERE NOT EXISTS (SELECT FROM unnest(p_event_ids) AS n(event_id)
                                        WHERE (SELECT true FROM %1$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1))
                       AND (v_requests = 1 OR (SELECT count(DISTINCT n.event_id) = v_requests FROM unnest(p_event_ids) AS n(event_id)))$sql$, v_boundary.events);
    v_answer   text := format($sql$) AS l(next, now)
             CROSS JOIN unnest(p_event_ids, p_event_types, p_data, p_metadata) WITH ORDINALITY AS n(event_id, event_type, data, metadata, request)
            RETURNING (t.global_id - coalesce((SELECT e.global_id FROM %1$s e ORDER BY e.global_id DESC LIMIT 1), -1))::integer, 'saved'::text, t.transaction_id, t.global_id;
            v_saved := FOUND;$sql$, v_boundary.events);
BEGIN
    FOR v_shape IN
        SELECT DISTINCT ON (k.keys) k.keys, c.chosen
          FROM unnest(v_indexes) i
         CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.key FROM unnest(i.field_keys) AS f(key) ORDER BY f.key COLLATE "C") AS keys) k
         CROSS JOIN LATERAL (SELECT orisun.choose_indexes(v_indexes, k.keys, NULL) AS chosen) c
         WHERE NOT EXISTS (SELECT FROM unnest(c.chosen) d WHERE d.depends_on_values)
         ORDER BY k.keys
    LOOP
        SELECT format('ARRAY[%s]', string_agg(format('p_tag_values[(r.request - 1) * %s + %s]', cardinality(v_shape.keys), k.tag), ', ' ORDER BY k.tag)),
               format('ARRAY[%s]', string_agg(CASE WHEN k.key = 'event_type' THEN 'n.event_type' ELSE format('n.data ->> %L', k.key) END, ', ' ORDER BY k.tag))
          INTO v_wanted, v_given
          FROM unnest(v_shape.keys) WITH ORDINALITY AS k(key, tag);
        v_shapes := v_shapes || format($sql$
        ELSIF p_tag_keys = %L THEN$sql$, v_shape.keys) || v_insert || format($sql$
                       AND NOT EXISTS (
                           SELECT FROM unnest(p_expected_transaction_ids, p_expected_global_ids) WITH ORDINALITY AS r(transaction_id, global_id, request)
                            CROSS JOIN LATERAL (SELECT (r.transaction_id, r.global_id) IN ((-1, -1), (0, 0)) AS anew, %4$s AS vals) c
                            WHERE NOT c.anew AND (SELECT e.transaction_id FROM %1$s e WHERE e.global_id = r.global_id ORDER BY e.global_id LIMIT 1) IS DISTINCT FROM r.transaction_id
                               OR (SELECT true FROM %1$s e
                                    WHERE (e.transaction_id, e.global_id) > (CASE WHEN c.anew THEN -1 ELSE r.transaction_id END, CASE WHEN c.anew THEN -1 ELSE r.global_id END)
                                      AND %2$s AND %3$s
                                    ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1))
                       AND (v_requests = 1 OR NOT EXISTS (
                           SELECT FROM (SELECT %4$s AS vals, r.request AS watching, NULL AS touching FROM generate_series(1, v_requests) AS r(request)
                                        UNION ALL
                                        SELECT %5$s, NULL, n.request
                                          FROM unnest(p_event_types, p_data) WITH ORDINALITY AS n(event_type, data, request)) g
                            GROUP BY g.vals
                           HAVING max(g.watching) > min(g.touching)))$sql$,
            v_boundary.events, orisun.criterion_predicate(v_shape.keys, 'c.vals', 0), orisun.index_predicate(v_shape.chosen, v_shape.keys, 'c.vals', 0), v_wanted, v_given) || v_answer;
    END LOOP;

    RETURN format($template$
CREATE OR REPLACE FUNCTION %s(
    p_expected_transaction_ids bigint[],
    p_expected_global_ids      bigint[],
    p_tag_keys                 text[],
    p_tag_values               text[],
    p_event_ids                text[],
    p_event_types              text[],
    p_data                     jsonb[],
    p_metadata                 jsonb[]
) RETURNS SETOF orisun.save_result
LANGUAGE plpgsql VOLATILE
AS %L
$template$, orisun.saving_function(p_boundary, 'plain'), format($body$
DECLARE
    v_requests integer := cardinality(p_event_ids);
    v_numbers  integer[];
    v_released text;
    v_saved    boolean := false;
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM pg_advisory_xact_lock(%2$s, %1$s), set_config('orisun.locked_boundary', '%1$s', true);
        IF p_tag_keys IS NULL THEN%3$s%4$s
        END IF;
        v_released := set_config('orisun.locked_boundary', '', true); -- costs less than PERFORM
    END IF;
    IF NOT v_saved THEN
        v_numbers := ARRAY(SELECT generate_series(1, v_requests));
        RETURN QUERY
        SELECT r.*
          FROM %5$s(p_expected_transaction_ids, p_expected_global_ids,
                    CASE WHEN p_tag_keys IS NULL THEN '{}' ELSE v_numbers END,
                    ARRAY(SELECT (t.tag - 1) / cardinality(p_tag_keys) + 1 FROM generate_series(1, cardinality(p_tag_values)) AS t(tag)),
                    ARRAY(SELECT p_tag_keys[(t.tag - 1) %% cardinality(p_tag_keys) + 1] FROM generate_series(1, cardinality(p_tag_values)) AS t(tag)),
                    coalesce(p_tag_values, '{}'), v_numbers, p_event_ids, p_event_types, p_data, p_metadata) r;
    END IF;
END
$body$, v_boundary.number, orisun.lock_class(), v_insert || v_answer, v_shapes, orisun.saving_function(p_boundary, 'requests')));
END
$compose$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_plain_saving(text) IS $$The CREATE FUNCTION of a boundary's own {schema}.{boundary}_orisun_save_plain: saves of one event each, all without a criterion (p_tag_keys is NULL) or
each with one criterion of the same keys, in the order of their bytes; p_tag_values has the values of one after those of the other. It does itself what is plain: saves that all
succeed, without a criterion or with the very fields of indexes that serve all values, in one statement, at half to three quarters of what the boundary's save_requests takes for them. All else it
hands on, and so do saves of which one does not succeed: what to answer is known in one place.

The indexes are those of when it was made, and orisun.finish_indexing makes it anew when they changed. One that is gone without that makes its saves slow, not wrong. Settings as for
orisun.compose_saving.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.saving_function(p_boundary text, p_of text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name text := (SELECT format('%I.%I', b.schema_name, b.name || '_orisun_save_' || p_of)
                     FROM orisun.boundary b WHERE b.name = p_boundary AND b.status = 'ACTIVE');
BEGIN
    IF v_name IS NULL THEN
        PERFORM orisun.find_boundary(p_boundary);
    END IF;
    RETURN v_name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.saving_function(text, text) IS $$The name of a boundary's own save_requests, which takes all that orisun.save_requests takes but the boundary (p_of is requests; see orisun.compose_saving),
or of its save_plain (p_of is plain; see orisun.compose_plain_saving). Raises OR001 when there is no such boundary.$$;

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

-- +goose StatementBegin
CREATE FUNCTION orisun.insert_events_with_consistency(p_boundary text, p_query jsonb, p_events jsonb, OUT transaction_id bigint, OUT global_id bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_expected jsonb := p_query -> 'expected_position';
    v_result   record;
BEGIN
    IF jsonb_typeof(p_events) IS DISTINCT FROM 'array' OR jsonb_array_length(p_events) = 0 THEN
        RAISE EXCEPTION 'events are a JSON array of at least one event'
            USING ERRCODE = 'OR007',
                  HINT = 'For example [{"event_id": "order-1", "event_type": "OrderPlaced", "data": {"order": 1}, "metadata": {}}].';
    END IF;

    WITH criteria AS (
        SELECT c.criterion, c.keys, c.vals FROM orisun.read_criteria(coalesce(p_query -> 'criteria', '[]')) c
    ), tags AS (
        SELECT c.criterion, t.key, t.val FROM criteria c CROSS JOIN LATERAL unnest(c.keys, c.vals) AS t(key, val)
    ), events AS (
        SELECT e.value AS event FROM jsonb_array_elements(p_events) e
    )
    SELECT r.outcome, r.transaction_id, r.global_id
      INTO v_result
      FROM orisun.save_requests(
               p_boundary                 => p_boundary,
               p_expected_transaction_ids => ARRAY[coalesce((v_expected ->> 'transaction_id')::bigint, -1)],
               p_expected_global_ids      => ARRAY[coalesce((v_expected ->> 'global_id')::bigint, -1)],
               p_criterion_requests       => ARRAY(SELECT 1 FROM criteria),
               p_tag_criteria             => ARRAY(SELECT t.criterion FROM tags t),
               p_tag_keys                 => ARRAY(SELECT t.key FROM tags t),
               p_tag_values               => ARRAY(SELECT t.val FROM tags t),
               p_event_requests           => ARRAY(SELECT 1 FROM events),
               p_event_ids                => ARRAY(SELECT e.event ->> 'event_id' FROM events e),
               p_event_types              => ARRAY(SELECT e.event ->> 'event_type' FROM events e),
               p_data                     => ARRAY(SELECT e.event -> 'data' FROM events e),
               p_metadata                 => ARRAY(SELECT coalesce(e.event -> 'metadata', '{}') FROM events e)) r;

    transaction_id := v_result.transaction_id;
    global_id := v_result.global_id;
    IF v_result.outcome = 'context_changed' THEN
        RAISE EXCEPTION 'the context changed: nothing is saved'
            USING ERRCODE = 'OR003',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'expected', v_expected,
                                              'actual', jsonb_build_object('transaction_id', transaction_id, 'global_id', global_id))::text,
                  HINT = 'Ask for the context again with orisun.get_matching_events, decide again, and save with its last position.';
    ELSIF v_result.outcome = 'event_id_reused' THEN
        RAISE EXCEPTION 'an event_id is taken by another event: nothing is saved'
            USING ERRCODE = 'OR004',
                  DETAIL = jsonb_build_object('boundary', p_boundary,
                                              'taken_at', jsonb_build_object('transaction_id', transaction_id, 'global_id', global_id))::text,
                  HINT = 'Give a new save new ids; only the very same save may be sent again.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb) IS $$Saves one request, with the API's JSON, and answers the position of its last event. It raises OR003 when
the context changed and OR004 when an event_id is taken by another event; then nothing is saved. The rules are orisun.save_requests'.

  SELECT * FROM orisun.insert_events_with_consistency('orders',
      '{"expected_position": {"transaction_id": 7, "global_id": 6}, "criteria": [{"tags": [{"key": "order", "value": "1"}]}]}',
      '[{"event_id": "order-1-paid", "event_type": "OrderPaid", "data": {"order": 1}, "metadata": {"by": "psql"}}]')

Leave expected_position out when nothing of the context may exist, criteria when there is no context: '{}'.$$;

-- +goose Down
DROP FUNCTION orisun.insert_events_with_consistency(text, jsonb, jsonb);
DROP FUNCTION orisun.save_requests(text, bigint[], bigint[], integer[], integer[], text[], text[], integer[], text[], text[], jsonb[], jsonb[]);
DROP FUNCTION orisun.saving_function(text, text);
DROP FUNCTION orisun.compose_plain_saving(text);
DROP FUNCTION orisun.compose_tail_check(regclass, text[], text);
DROP FUNCTION orisun.compose_checks(text, text, text[], orisun.context[]);
DROP FUNCTION orisun.compose_check(regclass, orisun.boundary_index[], text[]);
DROP FUNCTION orisun.compose_saving(text);
DROP FUNCTION orisun.keep_statement(text, text, text);
DROP FUNCTION orisun.split_contexts(orisun.boundary_index[], text[], orisun.context[]);
DROP TYPE orisun.context_part;
DROP TYPE orisun.context;
DROP TABLE orisun.save_result;
