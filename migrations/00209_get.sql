-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.first_global_id(p_transaction_id bigint, p_global_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    -- An event's transaction_id is greater than its global_id. So all events from global_id p_transaction_id on lie at
    -- or after the position, and which of those before it do depends on the one save that ends at, or spans, that
    -- place.
    v_spanning bigint := (SELECT e.transaction_id FROM orisun_boundary.es_event e
                           WHERE e.global_id < p_transaction_id ORDER BY e.global_id DESC LIMIT 1);
BEGIN
    IF v_spanning IS NULL OR v_spanning < p_transaction_id
       OR v_spanning = p_transaction_id AND p_global_id >= p_transaction_id THEN
        RETURN p_transaction_id;
    END IF;
    RETURN greatest(CASE WHEN v_spanning = p_transaction_id THEN p_global_id END, coalesce((
               SELECT e.global_id + 1 FROM orisun_boundary.es_event e
                WHERE e.global_id < p_transaction_id AND e.transaction_id < v_spanning ORDER BY e.global_id DESC
                LIMIT 1), 0));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.first_global_id(bigint, bigint) IS
$$The smallest global_id from which on all events lie at or after a position, by pairs: the position need not be that of
a stored event. It reads at most one save.$$;

CREATE FUNCTION orisun_boundary.range_start(p_after_transaction_id bigint, p_after_global_id bigint) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(orisun_boundary.first_global_id(p_after_transaction_id,
                                                    least(p_after_global_id, 9223372036854775806) + 1), 0)
$$;

COMMENT ON FUNCTION orisun_boundary.range_start(bigint, bigint) IS
$$The first global_id of the events after a position; NULL is the beginning.$$;

CREATE FUNCTION orisun_boundary.range_end(p_end_transaction_id bigint, p_end_global_id bigint) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(orisun_boundary.first_global_id(p_end_transaction_id, p_end_global_id), 9223372036854775807)
$$;

COMMENT ON FUNCTION orisun_boundary.range_end(bigint, bigint) IS
$$The first global_id that is not before a position; NULL is the end.$$;

CREATE FUNCTION orisun_boundary.read_all(
    p_after_transaction_id bigint,
    p_after_global_id      bigint,
    p_end_transaction_id   bigint,
    p_end_global_id        bigint,
    p_descending           boolean,
    p_count                integer
) RETURNS SETOF orisun.event
LANGUAGE sql STABLE ROWS 100
AS $$
    (SELECT e.* FROM orisun_boundary.es_event e
      WHERE NOT p_descending
        AND e.global_id >= orisun_boundary.range_start(p_after_transaction_id, p_after_global_id)
        AND e.global_id < orisun_boundary.range_end(p_end_transaction_id, p_end_global_id)
      ORDER BY e.global_id LIMIT p_count)
    UNION ALL
    (SELECT e.* FROM orisun_boundary.es_event e
      WHERE p_descending
        AND e.global_id >= orisun_boundary.range_start(p_after_transaction_id, p_after_global_id)
        AND e.global_id < orisun_boundary.range_end(p_end_transaction_id, p_end_global_id)
      ORDER BY e.global_id DESC LIMIT p_count)
$$;

COMMENT ON FUNCTION orisun_boundary.read_all(bigint, bigint, bigint, bigint, boolean, integer) IS
$$read_page without criteria: a part of the primary key. The server calls it directly, since the caller of an SQL
function gets the events while they are read.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.merge_criteria(
    p_criteria             jsonb[],
    p_after_transaction_id bigint,
    p_after_global_id      bigint,
    p_end_transaction_id   bigint,
    p_end_global_id        bigint,
    p_descending           boolean,
    p_count                integer
) RETURNS SETOF orisun.event
LANGUAGE plpgsql STABLE ROWS 100
AS $$
DECLARE
    v_after     orisun.event_position   := (p_after_transaction_id, p_after_global_id);
    v_end       orisun.event_position   := (p_end_transaction_id, p_end_global_id);
    v_unserved  jsonb[]                 := ARRAY(SELECT c.criterion FROM unnest(p_criteria) AS c(criterion)
                                                  WHERE orisun_boundary.choose_index(c.criterion) = '');
    v_found     orisun.event_position[] := '{}';
    v_criterion jsonb;
BEGIN
    IF p_criteria = '{}' THEN
        RETURN QUERY SELECT a.* FROM orisun_boundary.read_all(p_after_transaction_id, p_after_global_id,
                                                              p_end_transaction_id, p_end_global_id, p_descending,
                                                              p_count) a;
        RETURN;
    END IF;
    FOREACH v_criterion IN ARRAY p_criteria LOOP
        CONTINUE WHEN v_criterion = ANY (v_unserved);
        v_found := ARRAY(
            SELECT p.position
              FROM (SELECT f AS position FROM unnest(v_found) f
                    UNION
                    SELECT (f.transaction_id, f.global_id)::orisun.event_position
                      FROM orisun_boundary.lookup(ARRAY[v_criterion], ARRAY[1], ARRAY[v_after.transaction_id],
                                                  ARRAY[v_after.global_id],
                                                  v_end.transaction_id, v_end.global_id, p_descending, p_count) f) p
             ORDER BY CASE WHEN p_descending THEN -(p.position).global_id ELSE (p.position).global_id END
             LIMIT p_count);
        -- Once the page is full its last position bounds the next scan, so that all criteria together read little more
        -- than the page.
        IF cardinality(v_found) = p_count AND p_descending THEN
            v_after := v_found[p_count];
        ELSIF cardinality(v_found) = p_count THEN
            v_end := v_found[p_count];
        END IF;
    END LOOP;
    IF v_unserved <> '{}' THEN
        v_found := ARRAY(
            SELECT p.position
              FROM (SELECT f AS position FROM unnest(v_found) f
                    UNION
                    SELECT (s.transaction_id, s.global_id)::orisun.event_position
                      FROM orisun.scan_table('orisun_boundary.es_event', v_unserved,
                               orisun_boundary.range_start(v_after.transaction_id, v_after.global_id),
                               orisun_boundary.range_end(v_end.transaction_id, v_end.global_id),
                               p_descending, p_count) s) p
             ORDER BY CASE WHEN p_descending THEN -(p.position).global_id ELSE (p.position).global_id END
             LIMIT p_count);
    END IF;
    RETURN QUERY
    SELECT e.*
      FROM unnest(v_found) f
     CROSS JOIN LATERAL (SELECT e.* FROM orisun_boundary.es_event e WHERE e.global_id = f.global_id ORDER BY e.global_id
                          LIMIT 1) e;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.merge_criteria(jsonb[], bigint, bigint, bigint, bigint, boolean, integer) IS
$$read_page for any but one criterion that an index serves: it collects the positions of the first p_count events of
each, one criterion after the other, and then reads those events. Criteria that no index serves share one scan of the
primary key.$$;

CREATE FUNCTION orisun_boundary.read_page(
    p_criteria             jsonb[],
    p_after_transaction_id bigint,
    p_after_global_id      bigint,
    p_end_transaction_id   bigint,
    p_end_global_id        bigint,
    p_descending           boolean,
    p_count                integer
) RETURNS SETOF orisun.event
LANGUAGE sql STABLE ROWS 100
AS $$
    SELECT f.global_id, f.transaction_id, f.date_created, f.event_id, f.event_type, f.data, f.metadata
      FROM orisun_boundary.lookup(p_criteria, ARRAY[1], ARRAY[p_after_transaction_id], ARRAY[p_after_global_id],
                                  p_end_transaction_id, p_end_global_id, p_descending, p_count) f
     WHERE cardinality(p_criteria) = 1 AND orisun_boundary.choose_index(p_criteria[1]) <> ''
    UNION ALL
    SELECT m.*
      FROM orisun_boundary.merge_criteria(p_criteria, p_after_transaction_id, p_after_global_id,
                                          p_end_transaction_id, p_end_global_id, p_descending, p_count) m
     WHERE cardinality(p_criteria) <> 1 OR orisun_boundary.choose_index(p_criteria[1]) = ''
$$;

COMMENT ON FUNCTION orisun_boundary.read_page(jsonb[], bigint, bigint, bigint, bigint, boolean, integer) IS
$$One page of a boundary's events: the first p_count that match one of the criteria, in the order of positions or in the
opposite one. By hand: orisun.get_matching_events.

  p_criteria                                 as orisun.read_criteria returns them; none are every event
  p_after_transaction_id, p_after_global_id  the position after which to read; NULL for the beginning
  p_end_transaction_id, p_end_global_id      the position before which to read; NULL for the end. Neither has to be that
                                             of a stored event
$$;

CREATE FUNCTION orisun_boundary.first_of_each(p_criteria jsonb[], p_descending boolean, p_count integer)
RETURNS SETOF orisun.found_event
LANGUAGE sql STABLE ROWS 10
AS $$
    SELECT f.* FROM orisun_boundary.lookup(
        p_criteria, ARRAY(SELECT generate_series(1, cardinality(p_criteria))), NULL::bigint[], NULL::bigint[],
        NULL::bigint, NULL::bigint,
        p_descending, p_count) f
$$;

COMMENT ON FUNCTION orisun_boundary.first_of_each(jsonb[], boolean, integer) IS
$$The first p_count events of each criterion, all of one snapshot, with the criterion's number (from 1): the latest one
by true, 1. A criterion that no event matches has no row. By hand: orisun.get_latest_by_criteria.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.page_range(
    p_transaction_id bigint, p_global_id bigint, p_inclusive boolean, p_descending boolean,
    OUT after_transaction_id bigint, OUT after_global_id bigint, OUT end_transaction_id bigint, OUT end_global_id bigint
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_global_id bigint := CASE WHEN NOT p_inclusive THEN p_global_id
                                WHEN p_descending THEN least(p_global_id, 9223372036854775806) + 1
                                ELSE greatest(p_global_id, -9223372036854775807) - 1 END;
BEGIN
    IF p_transaction_id IS NULL OR p_global_id IS NULL THEN
        RETURN;
    ELSIF p_descending THEN
        end_transaction_id := p_transaction_id;
        end_global_id := v_global_id;
    ELSE
        after_transaction_id := p_transaction_id;
        after_global_id := v_global_id;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.page_range(bigint, bigint, boolean, boolean) IS
$$Where a page begins, as the range of positions that read_page takes.$$;

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
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_range record := orisun.page_range(p_transaction_id, p_global_id, p_inclusive, p_descending);
BEGIN
    RETURN QUERY EXECUTE format('SELECT * FROM %s($1, $2, $3, $4, $5, $6, $7)',
                                orisun.find_boundary_function(p_boundary, 'read_page'))
        USING orisun.read_criteria(p_criteria), v_range.after_transaction_id, v_range.after_global_id,
              v_range.end_transaction_id, v_range.end_global_id, p_descending, p_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS
$$One page of a boundary's events in the order of their positions, or in the opposite one (p_descending).

  p_criteria                    an event matches when one of the criteria does, a criterion when all of its tags do; []
                                is every event:
                                [{"tags": [{"key": "account", "value": "alice"},
                                           {"key": "event_type", "value": "MoneySent"}]}]
  p_transaction_id, p_global_id where the page begins; it need not be the position of an event; NULL is the very
                                beginning or end
  p_inclusive                   whether that position itself belongs to the page
  p_count                       the page's length in events

orisun.explain_matching_events shows how the events are found. Raises OR001 for an unknown boundary, OR007 for malformed
criteria.

  SELECT * FROM orisun.get_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]',
         p_descending => true, p_count => 10)$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_latest_by_criteria(p_boundary text, p_criteria jsonb) RETURNS SETOF orisun.found_event
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT * FROM %s($1, true, 1)',
                                orisun.find_boundary_function(p_boundary, 'first_of_each'))
       USING orisun.read_criteria(p_criteria);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_latest_by_criteria(text, jsonb) IS
$$The latest event of each criterion, all of one snapshot, with the criterion's number (from 1). A criterion that no
event matches has no row. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_latest_by_criteria('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.explain_page(
    p_boundary             text,
    p_criteria             jsonb[],
    p_after_transaction_id bigint,
    p_after_global_id      bigint,
    p_end_transaction_id   bigint,
    p_end_global_id        bigint,
    p_descending           boolean,
    p_count                integer
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_after      text     := format('(%s, %s)', coalesce(p_after_transaction_id, -1), coalesce(p_after_global_id, -1));
    v_end        text     := format('(%s, %s)', coalesce(p_end_transaction_id, 9223372036854775807),
                                    coalesce(p_end_global_id, 9223372036854775807));
    v_first_id   bigint;
    v_end_id     bigint;
    v_indexes    text[];
    v_unserved   jsonb[];
    v_numbers    integer[];
    v_statements text[]   := '{}';
    v_scans      jsonb[]  := '{}';
    v_index      orisun.boundary_index;
    v_json       json;
    v_plan       jsonb;
BEGIN
    EXECUTE format('SELECT %s($1), %s($2, $3), %s($4, $5)',
                   orisun.find_boundary_function(p_boundary, 'choose_indexes'),
                   orisun.find_boundary_function(p_boundary, 'range_start'),
                   orisun.find_boundary_function(p_boundary, 'range_end'))
       INTO v_indexes, v_first_id, v_end_id
      USING p_criteria, p_after_transaction_id, p_after_global_id, p_end_transaction_id, p_end_global_id;
    FOR v_criterion IN 1 .. cardinality(p_criteria) LOOP
        SELECT i.* INTO v_index FROM orisun.find_indexes(p_boundary) i WHERE i.name = v_indexes[v_criterion];
        CONTINUE WHEN NOT FOUND;
        v_statements := v_statements || format('(%s)',
                                               orisun.render_index_scan(v_events, v_index,
                                                   quote_literal(p_criteria[v_criterion]) || '::jsonb',
                                                                         v_after, v_end, p_descending, p_count::text));
        v_scans := v_scans || jsonb_build_object('criteria', ARRAY[v_criterion], 'served', true);
        v_indexes[v_criterion] := NULL;
    END LOOP;
    SELECT coalesce(array_agg(c.criterion ORDER BY c.number), '{}'),
           coalesce(array_agg(c.number ORDER BY c.number), '{}')
      INTO v_unserved, v_numbers
      FROM unnest(p_criteria, v_indexes) WITH ORDINALITY AS c(criterion, index, number) WHERE c.index IS NOT NULL;
    IF v_unserved <> '{}' OR p_criteria = '{}' THEN
        v_statements := v_statements || format('(%s)',
                                               orisun.render_table_scan(v_events, CASE p_criteria WHEN '{}'
                                                   THEN ARRAY['{}'::jsonb] ELSE v_unserved END,
                                                                         v_first_id, v_end_id, p_descending, p_count));
        v_scans := v_scans || jsonb_build_object('criteria', v_numbers, 'served', p_criteria = '{}');
    END IF;

    EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || CASE cardinality(v_statements) WHEN 1 THEN '%1$s' ELSE
                   'SELECT DISTINCT ON (e.transaction_id, e.global_id) e.* FROM (%1$s) e ORDER BY e.transaction_id '
                   '%2$s, e.global_id %2$s LIMIT %3$s' END,
                   array_to_string(v_statements, ' UNION ALL '), CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END,
                   p_count) INTO v_json;
    v_plan := v_json -> 0;
    RETURN jsonb_build_object(
        'events', (v_plan #>> '{Plan,Actual Rows}')::numeric::bigint, -- PostgreSQL 18 counts fractions of rows
        'buffers', (v_plan #>> '{Plan,Shared Hit Blocks}')::bigint + (v_plan #>> '{Plan,Shared Read Blocks}')::bigint,
        'planning_ms', v_plan -> 'Planning Time',
        'execution_ms', v_plan -> 'Execution Time',
        'scans', (SELECT jsonb_agg(v_scans[s.ordinal] || jsonb_build_object(
                             'index', s.node ->> 'Index Name',
                             'events', (s.node ->> 'Actual Rows')::numeric::bigint,
                             'filtered', coalesce(s.node ->> 'Rows Removed by Filter', '0')::numeric::bigint,
                             'buffers', (s.node ->> 'Shared Hit Blocks')::bigint
                                 + (s.node ->> 'Shared Read Blocks')::bigint) ORDER BY s.ordinal)
                    FROM jsonb_path_query(v_plan, 'strict $.** ? (exists (@."Relation Name"))')
                        WITH ORDINALITY AS s(node, ordinal)),
        'plan', v_plan);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.explain_page(text, jsonb[], bigint, bigint, bigint, bigint, boolean, integer) IS
$$orisun.explain_matching_events with the parameters of read_page.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.explain_matching_events(
    p_boundary       text,
    p_criteria       jsonb   DEFAULT '[]',
    p_transaction_id bigint  DEFAULT NULL,
    p_global_id      bigint  DEFAULT NULL,
    p_inclusive      boolean DEFAULT true,
    p_descending     boolean DEFAULT false,
    p_count          integer DEFAULT 1000
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_range record := orisun.page_range(p_transaction_id, p_global_id, p_inclusive, p_descending);
BEGIN
    RETURN orisun.explain_page(p_boundary, orisun.read_criteria(p_criteria), v_range.after_transaction_id,
                               v_range.after_global_id,
                               v_range.end_transaction_id, v_range.end_global_id, p_descending, p_count);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS
$$Runs the scans that orisun.get_matching_events with the same arguments runs, and reports how:

  events, buffers               how many events the page holds, and how many pages of 8 kB were touched for it, cached
                                or not
  planning_ms, execution_ms     what it took
  scans                         one for each index scan: the criteria it looks for (from 1; none for a page of all
                                events), the index, whether that serves them, the events it found, those it read and
                                threw away, and its buffers
  plan                          all of it, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) has it

Criteria that no index serves are looked for in the order of positions, with the primary key: that scan reads every
event until the page is full.

  SELECT jsonb_pretty(orisun.explain_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]', p_count
         => 10))$$;

-- +goose Down
DROP FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
DROP FUNCTION orisun.explain_page(text, jsonb[], bigint, bigint, bigint, bigint, boolean, integer);
DROP FUNCTION orisun.get_latest_by_criteria(text, jsonb);
DROP FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
DROP FUNCTION orisun.page_range(bigint, bigint, boolean, boolean);
DROP FUNCTION orisun_boundary.first_of_each(jsonb[], boolean, integer);
DROP FUNCTION orisun_boundary.read_page(jsonb[], bigint, bigint, bigint, bigint, boolean, integer);
DROP FUNCTION orisun_boundary.merge_criteria(jsonb[], bigint, bigint, bigint, bigint, boolean, integer);
DROP FUNCTION orisun_boundary.read_all(bigint, bigint, bigint, bigint, boolean, integer);
DROP FUNCTION orisun_boundary.range_end(bigint, bigint);
DROP FUNCTION orisun_boundary.range_start(bigint, bigint);
DROP FUNCTION orisun_boundary.first_global_id(bigint, bigint);
