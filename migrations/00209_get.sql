-- +goose Up
CREATE TABLE orisun.latest_event (
    LIKE orisun.event,
    criterion integer NOT NULL
);

COMMENT ON TABLE orisun.latest_event IS $$The shape of what orisun.get_latest_by_criteria returns: an event and which criterion (from 1) it is the latest of.
It holds no rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.reading_types() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'text[], integer, bigint, bigint, bigint, bigint' $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.reading_types() IS $$The types of the parameters of what orisun.compose_reading composes.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.bound_expression(p_events regclass, p_transaction_id text, p_global_id text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- An event's transaction_id is greater than its global_id. So all events from global_id p_transaction_id on lie at or after the
    -- position, and which of those before it do depends on the one save that ends at, or spans, that place.
    SELECT format($sql$(
        SELECT CASE
            WHEN s.transaction_id IS NULL OR s.transaction_id < %2$s OR (s.transaction_id = %2$s AND %3$s >= %2$s) THEN %2$s
            ELSE greatest(CASE WHEN s.transaction_id = %2$s THEN %3$s END, coalesce((
                SELECT e.global_id + 1 FROM %1$s e WHERE e.global_id < %2$s AND e.transaction_id < s.transaction_id ORDER BY e.global_id DESC LIMIT 1), 0))
            END
          FROM (SELECT (SELECT e.transaction_id FROM %1$s e WHERE e.global_id < %2$s ORDER BY e.global_id DESC LIMIT 1) AS transaction_id) s
        )$sql$, p_events, p_transaction_id, p_global_id)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.bound_expression(regclass, text, text) IS $$The SQL of the smallest global_id from which on all events lie at or after a position, by pairs: the position, two SQL expressions, need
not name a stored event. It reads at most one save.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.page_begin(p_transaction_id bigint, p_global_id bigint, p_inclusive boolean, p_descending boolean) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN p_transaction_id IS NULL OR p_global_id IS NULL THEN NULL
        WHEN p_inclusive THEN p_global_id
        WHEN p_descending THEN greatest(p_global_id, -9223372036854775807) - 1
        ELSE least(p_global_id, 9223372036854775806) + 1
    END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.page_begin(bigint, bigint, boolean, boolean) IS $$The global_id of the first position that a page may hold, which need not be that of an event; NULL for the very beginning or end. What
is exclusive becomes the next position in the page's direction.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_reading(
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_lower        boolean,
    p_upper        boolean,
    p_descending   boolean,
    OUT statement         text,
    OUT scans             text[],
    OUT unserved          boolean,
    OUT depends_on_values boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_chosen     orisun.boundary_index[];
    v_order      text     := CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END;
    v_range      text     := 'true';
    v_statements text[]   := '{}';
    v_unserved   text[]   := '{}';
    v_numbers    text[]   := '{}';
    v_predicate  text;
    v_criterion  record;
BEGIN
    IF p_lower THEN
        v_range := '(e.transaction_id, e.global_id) >= ($3, $4)';
    END IF;
    IF p_upper THEN
        v_range := v_range || ' AND (e.transaction_id, e.global_id) <= ($5, $6)';
    END IF;
    scans := '{}';
    unserved := false;
    depends_on_values := false;
    IF cardinality(p_tag_keys) <> cardinality(p_tag_criteria) OR cardinality(p_tag_values) <> cardinality(p_tag_criteria)
       OR p_tag_criteria <> ARRAY(SELECT t.criterion FROM unnest(p_tag_criteria) AS t(criterion) ORDER BY t.criterion) THEN
        RAISE EXCEPTION 'every tag needs a criterion, a key and a value, and stands with those of its criterion'
            USING ERRCODE = 'OR007', HINT = 'By hand use orisun.get_matching_events.';
    END IF;
    FOR v_criterion IN
        SELECT t.criterion, array_agg(t.key ORDER BY t.ordinal) AS keys, array_agg(t.value ORDER BY t.ordinal) AS vals, min(t.ordinal)::integer - 1 AS before
          FROM unnest(p_tag_criteria, p_tag_keys, p_tag_values) WITH ORDINALITY AS t(criterion, key, value, ordinal)
         GROUP BY t.criterion
         ORDER BY t.criterion
    LOOP
        v_chosen := orisun.choose_indexes(v_indexes, v_criterion.keys, NULL);
        IF EXISTS (SELECT FROM unnest(v_chosen) i WHERE i.depends_on_values) THEN
            depends_on_values := true;
            v_chosen := orisun.choose_indexes(v_chosen, v_criterion.keys, v_criterion.vals);
        END IF;
        v_predicate := orisun.criterion_predicate(v_criterion.keys, '$1', v_criterion.before);
        IF v_chosen = '{}' THEN
            unserved := true;
            v_unserved := v_unserved || v_predicate;
            v_numbers := v_numbers || v_criterion.criterion::text;
        ELSE
            v_statements := v_statements || format('(SELECT e.* FROM %1$s e WHERE %2$s AND %3$s AND %4$s ORDER BY e.transaction_id %5$s, e.global_id %5$s LIMIT $2)',
                v_events, v_range, v_predicate, orisun.index_predicate(v_chosen, v_criterion.keys, '$1', v_criterion.before), v_order);
            scans := scans || v_criterion.criterion::text;
        END IF;
    END LOOP;

    -- What no index serves is one scan of the primary key, which holds the order of positions too.
    IF v_unserved <> '{}' OR v_statements = '{}' THEN
        v_range := 'true';
        IF p_lower THEN
            v_range := 'e.global_id >= ' || orisun.bound_expression(v_events, '$3', '$4');
        END IF;
        IF p_upper THEN
            v_range := v_range || ' AND e.global_id < ' || orisun.bound_expression(v_events, '$5', '(least($6, 9223372036854775806) + 1)');
        END IF;
        v_statements := v_statements || format('(SELECT e.* FROM %s e WHERE %s AND (%s) ORDER BY e.global_id %s LIMIT $2)',
            v_events, v_range, coalesce(nullif(array_to_string(v_unserved, ' OR '), ''), 'true'), v_order);
        scans := scans || array_to_string(v_numbers, ',');
    END IF;
    statement := CASE
        WHEN cardinality(v_statements) = 1 THEN v_statements[1]
        -- An event that matches several criteria comes out of several scans, side by side after the merge.
        ELSE format('SELECT DISTINCT ON (e.transaction_id, e.global_id) e.* FROM (%1$s) e ORDER BY e.transaction_id %2$s, e.global_id %2$s LIMIT $2',
                    array_to_string(v_statements, ' UNION ALL '), v_order)
    END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_reading(text, integer[], text[], text[], boolean, boolean, boolean) IS
$$The statement that reads a page of events which match criteria, given as orisun.get_events takes them. Its parameters are orisun.reading_types():

  $1      the values of the tags
  $2      the page's length
  $3, $4  the position from which on to read, included, if there is such a bound (p_lower)
  $5, $6  the position up to which to read, included, if there is such a bound (p_upper)

scans tells, for each scan in it, the numbers of the criteria that it looks for; unserved, whether the last of them reads events that no index has chosen, and
depends_on_values, whether it may be another statement with other values, since typed and partial indexes serve some only. Raises OR001 for an unknown boundary.

A criterion that indexes serve is a scan of its own, ordered by the pair (transaction_id, global_id), which only those indexes end with. So the planner
cannot mistake the primary key for a way to it, and walk back through all events that do not match. The others share one scan of the primary key.
Whoever runs the statement forbids plans that read all matches to sort them: SET enable_seqscan, enable_bitmapscan, enable_sort = off.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.keep_reading(
    p_name         text,
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_bound        boolean,
    p_descending   boolean
) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_reading record := orisun.compose_reading(p_boundary, p_tag_criteria, p_tag_keys, p_tag_values,
                                               p_bound AND NOT p_descending, p_bound AND p_descending, p_descending);
    v_name    text   := CASE WHEN v_reading.depends_on_values THEN 'orisun_' || md5(v_reading.statement) ELSE p_name END;
BEGIN
    PERFORM orisun.keep_statement(v_name, orisun.reading_types(), v_reading.statement);
    RETURN v_name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.keep_reading(text, text, integer[], text[], text[], boolean, boolean) IS $$Keeps the statement that orisun.compose_reading composes, and answers its name: p_name, unless the statement depends on values. So who
finds p_name kept need not ask.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_events(
    p_boundary       text,
    p_tag_criteria   integer[],
    p_tag_keys       text[],
    p_tag_values     text[],
    p_transaction_id bigint,
    p_global_id      bigint,
    p_inclusive      boolean,
    p_descending     boolean,
    p_count          integer
) RETURNS SETOF orisun.event
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_begin bigint := orisun.page_begin(p_transaction_id, p_global_id, p_inclusive, p_descending);
    v_name  text;
BEGIN
    -- All that a statement is composed from: to compose it anew takes several times as long as to run it. The indexes tell the boundary, too.
    SELECT 'orisun_' || md5(format('read %s %s %s %s %s %s', x.indexes, p_tag_criteria, p_tag_keys, cardinality(p_tag_values), v_begin IS NULL, p_descending))
      INTO v_name
      FROM orisun.boundary b
     CROSS JOIN LATERAL (SELECT ARRAY(SELECT x.indexrelid FROM pg_index x
                                       WHERE x.indrelid = format('%I.%I', b.schema_name, b.name || '_orisun_es_event')::regclass AND x.indisvalid) AS indexes) x
     WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF (strpos(current_setting('orisun.kept_statements', true), v_name) > 0) IS NOT TRUE THEN
        v_name := orisun.keep_reading(v_name, p_boundary, p_tag_criteria, p_tag_keys, p_tag_values, v_begin IS NOT NULL, p_descending);
    END IF;
    RETURN QUERY EXECUTE format('EXECUTE %s(%L, %L, %4$L, %5$L, %4$L, %5$L)', v_name, p_tag_values, p_count, p_transaction_id, v_begin);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_events(text, integer[], text[], text[], bigint, bigint, boolean, boolean, integer) IS $$One page of a boundary's events, as orisun.get_matching_events describes it. It takes the tags of criteria as arrays, an element each for
a tag, in the order of criteria; no tags are every event.

  p_tag_criteria, p_tag_keys, p_tag_values    the criterion (from 1) that a tag belongs to, key and value

Raises OR001 for an unknown boundary, OR007 for arrays of different lengths or out of order.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_page(
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_bound        boolean,
    p_descending   boolean
) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_reading record := orisun.compose_reading(p_boundary, p_tag_criteria, p_tag_keys, p_tag_values,
                                               p_bound AND NOT p_descending, p_bound AND p_descending, p_descending);
BEGIN
    IF v_reading.depends_on_values THEN
        RETURN NULL;
    END IF;
    -- Nobody reads from types: it lets parameters that the statement does not use have a type.
    RETURN 'WITH types AS (SELECT $1::text[], $2::integer, $3::bigint, $4::bigint, $5::bigint, $6::bigint) ' || v_reading.statement;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_page(text, integer[], text[], text[], boolean, boolean) IS $$The statement that orisun.get_events runs for such criteria, for a session that keeps it itself and so saves itself the way through that function, which takes
several times as long as a page of ten events. NULL where it depends on values. Its parameters are orisun.reading_types(). It counts on indexes that may be
dropped, and knows none that are made later: whoever keeps it asks again before long, and sees to the settings that orisun.get_events has.$$;

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

-- +goose StatementBegin
CREATE FUNCTION orisun.compose_latest(p_events regclass, p_indexes orisun.boundary_index[], p_keys text[], p_contexts text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_predicate text := orisun.criterion_predicate(p_keys, 'c.vals', 0);
BEGIN
    RETURN format(CASE p_indexes WHEN '{}' THEN $sql$
        SELECT e.*, c.request
          FROM unnest(%1$s) AS c
         CROSS JOIN LATERAL (SELECT e.* FROM %2$s e
                              WHERE %3$s
                              ORDER BY e.global_id DESC LIMIT 1) e
        $sql$ ELSE $sql$
        SELECT e.*, c.request
          FROM unnest(%1$s) AS c
         CROSS JOIN LATERAL (SELECT e.* FROM %2$s e
                              WHERE %3$s AND %4$s
                              ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1) e
        $sql$ END, p_contexts, p_events, v_predicate, orisun.index_predicate(p_indexes, p_keys, 'c.vals', 0));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_latest(regclass, orisun.boundary_index[], text[], text) IS $$The statement that finds, for each of many contexts with the same keys (p_contexts, the SQL of an orisun.context[]), the latest event
that matches. With indexes, as orisun.split_contexts gives them, the order is by the pair, which the primary key does not have: see
orisun.compose_reading. Without, it reads all events, from the last one back to a match.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_latest_by_criteria(p_boundary text, p_criteria jsonb) RETURNS SETOF orisun.latest_event
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_events     regclass                := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_statements text[] := '{}';
    v_contexts   text[] := '{}';
    v_statement  text;
    v_name       text;
    v_shape      record;
    v_part       record;
BEGIN
    -- All shapes of criterion are one statement, which has one snapshot.
    FOR v_shape IN
        SELECT c.keys, array_agg(ROW(c.criterion, -1, -1, c.vals)::orisun.context) AS contexts FROM orisun.read_criteria(p_criteria) c GROUP BY c.keys
    LOOP
        FOR v_part IN SELECT p.indexes, p.contexts FROM orisun.split_contexts(v_indexes, v_shape.keys, v_shape.contexts) p LOOP
            v_contexts := v_contexts || quote_literal(v_part.contexts);
            v_statements := v_statements || orisun.compose_latest(v_events, v_part.indexes, v_shape.keys, '$' || cardinality(v_contexts));
        END LOOP;
    END LOOP;
    IF v_statements = '{}' THEN
        RETURN;
    END IF;
    v_statement := array_to_string(v_statements, ' UNION ALL ');
    v_name := 'orisun_' || md5(v_statement);
    PERFORM orisun.keep_statement(v_name, array_to_string(array_fill('orisun.context[]'::text, ARRAY[cardinality(v_contexts)]), ', '), v_statement);
    RETURN QUERY EXECUTE format('EXECUTE %I(%s)', v_name, array_to_string(v_contexts, ', '));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_latest_by_criteria(text, jsonb) IS $$The latest event of each criterion, all of one snapshot, with the criterion's number (from 1). A criterion that no event
matches has no row. Raises OR001 for an unknown boundary, OR007 for malformed criteria.

  SELECT * FROM orisun.get_latest_by_criteria('orders', '[{"tags": [{"key": "order", "value": "1"}]}]')$$;

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
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_begin   bigint := orisun.page_begin(p_transaction_id, p_global_id, p_inclusive, p_descending);
    v_tags    record := orisun.read_tags(p_criteria);
    v_reading record;
    v_json    json;
    v_plan    jsonb;
BEGIN
    v_reading := orisun.compose_reading(p_boundary, v_tags.tag_criteria, v_tags.tag_keys, v_tags.tag_values,
                                        v_begin IS NOT NULL AND NOT p_descending, v_begin IS NOT NULL AND p_descending, p_descending);
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || v_reading.statement INTO v_json
      USING v_tags.tag_values, p_count, p_transaction_id, v_begin, p_transaction_id, v_begin;
    v_plan := v_json -> 0;
    RETURN jsonb_build_object(
        'events', (v_plan #>> '{Plan,Actual Rows}')::numeric::bigint, -- PostgreSQL 18 counts fractions of rows
        'buffers', (v_plan #>> '{Plan,Shared Hit Blocks}')::bigint + (v_plan #>> '{Plan,Shared Read Blocks}')::bigint,
        'planning_ms', v_plan -> 'Planning Time',
        'execution_ms', v_plan -> 'Execution Time',
        'scans', (SELECT jsonb_agg(jsonb_build_object(
                             'criteria', string_to_array(v_reading.scans[s.ordinal], ',')::integer[],
                             'index', s.node ->> 'Index Name',
                             'served', s.ordinal < cardinality(v_reading.scans) OR NOT v_reading.unserved,
                             'events', (s.node ->> 'Actual Rows')::numeric::bigint,
                             'filtered', coalesce(s.node ->> 'Rows Removed by Filter', '0')::numeric::bigint,
                             'buffers', (s.node ->> 'Shared Hit Blocks')::bigint + (s.node ->> 'Shared Read Blocks')::bigint) ORDER BY s.ordinal)
                    FROM jsonb_path_query(v_plan, 'strict $.** ? (exists (@."Relation Name"))') WITH ORDINALITY AS s(node, ordinal)),
        'plan', v_plan);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS $$Runs what orisun.get_matching_events with the same arguments runs, and tells how:

  events, buffers               how many events the page holds, and how many pages of 8 kB were touched for it, cached or not
  planning_ms, execution_ms     what it took
  scans                         one for each index scan: the criteria it looks for (from 1; none for a page of all events), the index, whether that
                                serves them, the events it found, those it read and threw away, and its buffers
  plan                          all of it, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) has it

What is not served is looked for in the order of positions, with the primary key: that scan reads every event until the page is full.

  SELECT jsonb_pretty(orisun.explain_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]', p_count => 10))$$;

-- +goose Down
DROP FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
DROP FUNCTION orisun.get_latest_by_criteria(text, jsonb);
DROP FUNCTION orisun.compose_latest(regclass, orisun.boundary_index[], text[], text);
DROP FUNCTION orisun.get_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
DROP FUNCTION orisun.compose_page(text, integer[], text[], text[], boolean, boolean);
DROP FUNCTION orisun.get_events(text, integer[], text[], text[], bigint, bigint, boolean, boolean, integer);
DROP FUNCTION orisun.keep_reading(text, text, integer[], text[], text[], boolean, boolean);
DROP FUNCTION orisun.compose_reading(text, integer[], text[], text[], boolean, boolean, boolean);
DROP FUNCTION orisun.page_begin(bigint, bigint, boolean, boolean);
DROP FUNCTION orisun.bound_expression(regclass, text, text);
DROP FUNCTION orisun.reading_types();
DROP TABLE orisun.latest_event;
