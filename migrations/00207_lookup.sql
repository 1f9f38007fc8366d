-- +goose Up
CREATE SCHEMA orisun_boundary;

COMMENT ON SCHEMA orisun_boundary IS
$$The functions that each boundary has of its own, over an empty table of events. Plans are cached per table, so
orisun.clone_functions copies the functions for each boundary: orisun_boundary.x becomes {schema}."{boundary}_orisun_x".
They rely on settings of the session: search_path is pg_catalog, plan_cache_mode is force_generic_plan, and
enable_seqscan, enable_bitmapscan, enable_sort and jit are off. The functions for people in schema orisun set them, and
the server does for its sessions.$$;

CREATE TABLE orisun_boundary.es_event (LIKE orisun.event INCLUDING ALL);

COMMENT ON TABLE orisun_boundary.es_event IS $$Stands for a boundary's table of events. It holds no rows.$$;

CREATE FUNCTION orisun_boundary.number() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 0 $$;

COMMENT ON FUNCTION orisun_boundary.number() IS
$$The boundary's number in orisun.boundary: the second key of its advisory lock.$$;

CREATE FUNCTION orisun_boundary.choose_index(p_criterion jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ''::text $$;

COMMENT ON FUNCTION orisun_boundary.choose_index(jsonb) IS
$$The name of the index by which a criterion is looked up, '' where none serves it. Rendered from the boundary's indexes
by orisun.render_choose_index: the first one, in the order of orisun.find_indexes, whose fields are all keys of the
criterion's tags, whose types can hold the tags' values, and whose conditions the tags fulfil.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.choose_indexes(p_criteria jsonb[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_criterion jsonb;
    v_indexes   text[] := '{}';
BEGIN
    -- A loop takes a third of what a query over unnest takes: its expressions need no executor.
    FOREACH v_criterion IN ARRAY p_criteria LOOP
        v_indexes := v_indexes || orisun_boundary.choose_index(v_criterion);
    END LOOP;
    RETURN v_indexes;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.choose_indexes(jsonb[]) IS $$choose_index of each criterion.$$;

CREATE TABLE orisun.found_event (
    LIKE orisun.event,
    owner integer NOT NULL
);

COMMENT ON TABLE orisun.found_event IS
$$The shape of what a boundary's lookup returns: an event and the owner of the criterion that it matches. It holds no
rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.lookup(
    p_criteria              jsonb[],
    p_owners                integer[],
    p_after_transaction_ids bigint[],
    p_after_global_ids      bigint[],
    p_end_transaction_id    bigint,
    p_end_global_id         bigint,
    p_descending            boolean,
    p_count                 integer
) RETURNS SETOF orisun.found_event
LANGUAGE plpgsql STABLE ROWS 10
AS $$
DECLARE
    v_indexes text[] := orisun_boundary.choose_indexes(p_criteria);
BEGIN
    -- indexes: orisun.render_branches puts a branch for each index here.
    IF '' = ANY (v_indexes) THEN
        -- One scan for all criteria that no index serves: usually nothing matches, and the history is read once.
        PERFORM FROM orisun.scan_table('orisun_boundary.es_event',
            ARRAY(SELECT c.criterion FROM unnest(p_criteria, v_indexes) AS c(criterion, index) WHERE c.index = ''),
            (SELECT min(CASE WHEN p_after_transaction_ids[c.owner] > 0
                             THEN least(p_after_global_ids[c.owner], 9223372036854775806) + 1 ELSE 0 END)
               FROM unnest(p_owners, v_indexes) AS c(owner, index) WHERE c.index = ''),
            coalesce(p_end_global_id, 9223372036854775807), p_descending, 1);
        IF FOUND THEN
            RETURN QUERY
            SELECT e.*, c.owner
              FROM unnest(p_criteria, p_owners, v_indexes) AS c(criterion, owner, index)
             CROSS JOIN LATERAL orisun.scan_table('orisun_boundary.es_event', ARRAY[c.criterion],
                 CASE WHEN p_after_transaction_ids[c.owner] > 0
                      THEN least(p_after_global_ids[c.owner], 9223372036854775806) + 1 ELSE 0 END,
                 coalesce(p_end_global_id, 9223372036854775807), p_descending, p_count) e
             WHERE c.index = '';
        END IF;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.lookup(jsonb[], integer[], bigint[], bigint[], bigint, bigint, boolean, integer) IS
$$The one way from criteria to stored events: for each criterion the first p_count events that match, in the order of
positions or in the opposite one. Saves, pages, subscriptions and the latest events all use it.

  p_criteria                                   as orisun.read_criteria returns them
  p_owners                                     one a criterion: the number that comes with the events it finds, such as
                                               that of its save
  p_after_transaction_ids, p_after_global_ids  one an owner: the position after which to look; NULL for the beginning
  p_end_transaction_id, p_end_global_id        the position before which to look; NULL for the end

A criterion that an index serves is one ordered, limited scan of it, in a branch that orisun.render_lookup renders.
Criteria that no index serves are scans of the primary key, for which the positions must be those of stored events, or
of none.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun_boundary.find_dependents(
    p_requests       integer[],
    p_owners         integer[],
    p_criteria       jsonb[],
    p_event_requests integer[],
    p_event_ids      text[],
    p_event_types    text[],
    p_data           jsonb[]
) RETURNS integer[]
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_indexes text[]    := orisun_boundary.choose_indexes(p_criteria);
    v_found   integer[] := ARRAY(
        SELECT unnest((array_agg(n.request ORDER BY n.request))[2:])
          FROM unnest(p_event_requests, p_event_ids) AS n(request, event_id)
         WHERE p_requests IS NULL OR n.request = ANY (p_requests)
         GROUP BY n.event_id HAVING count(*) > 1);
BEGIN
    -- indexes: orisun.render_branches puts a branch for each index here.
    IF '' = ANY (v_indexes) THEN
        v_found := v_found || ARRAY(
            WITH tag AS (
                SELECT c.owner, c.number, t.key, t.value
                  FROM unnest(p_owners, p_criteria, v_indexes) WITH ORDINALITY AS c(owner, criterion, index, number)
                  LEFT JOIN LATERAL jsonb_each_text(c.criterion) AS t(key, value) ON true
                 WHERE c.index = ''
            ), first AS (
                SELECT k.key, CASE k.key WHEN 'event_type' THEN n.event_type ELSE n.data ->> k.key END AS value,
                       min(n.request) AS request
                  FROM unnest(p_event_requests, p_event_types, p_data) AS n(request, event_type, data)
                 CROSS JOIN (SELECT DISTINCT t.key FROM tag t) k
                 WHERE p_requests IS NULL OR n.request = ANY (p_requests)
                 GROUP BY 1, 2
            )
            SELECT t.owner
              FROM tag t LEFT JOIN first f ON f.key = t.key AND f.value = t.value
             GROUP BY t.number, t.owner HAVING bool_and(t.key IS NULL AND t.owner > coalesce(p_requests[1], 1)
                                                        OR f.request < t.owner));
    END IF;
    RETURN v_found;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun_boundary.find_dependents(integer[], integer[], jsonb[], integer[], text[], text[],
    jsonb[]) IS
$$Of the requests of one call of save_requests, those that may depend on an earlier one: it has the same event_id, or an
event that matches one of their criteria. A request too many costs a round, one too few would lose a conflict.

  p_requests            the requests to compare, ascending; NULL for all
  p_owners, p_criteria  one a criterion: the request it belongs to, and the criterion
  the others            as in save_requests

The branches, one for each index, are rendered by orisun.render_find_dependents.$$;

CREATE FUNCTION orisun.has_tags(p_event_type text, p_data jsonb, p_tags jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT coalesce(bool_and((CASE t.key WHEN 'event_type' THEN p_event_type
                              ELSE p_data ->> t.key END) IS NOT DISTINCT FROM t.value), true)
      FROM jsonb_each_text(p_tags) AS t(key, value)
$$;

COMMENT ON FUNCTION orisun.has_tags(text, jsonb, jsonb) IS
$$Returns whether an event matches a criterion: for tags beyond an index's fields.$$;

CREATE FUNCTION orisun.render_index_condition(p_index orisun.boundary_index) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws(' AND ', format('p_criterion ?& %L', p_index.field_keys),
        (SELECT string_agg(format('orisun.try_%s(p_criterion ->> %L) IS NOT NULL', lower(f.type), f.key), ' AND '
                           ORDER BY f.ordinal)
           FROM unnest(p_index.field_keys, p_index.field_types) WITH ORDINALITY AS f(key, type, ordinal)
          WHERE f.type <> 'TEXT'),
        (SELECT '(' || string_agg(format('orisun.satisfies(p_criterion ->> %L, %L, %L)', c.key, c.operator, c.value),
                                  format(' %s ', p_index.combinator) ORDER BY c.ordinal) || ')'
           FROM unnest(p_index.condition_keys, p_index.condition_operators, p_index.condition_values)
               WITH ORDINALITY AS c(key, operator, value, ordinal)))
$$;

COMMENT ON FUNCTION orisun.render_index_condition(orisun.boundary_index) IS
$$The SQL of whether an index finds all events that match p_criterion.$$;

CREATE FUNCTION orisun.render_index_scan(
    p_events regclass, p_index orisun.boundary_index, p_criterion text, p_after text, p_end text, p_descending boolean,
    p_count text
) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($sql$SELECT e.* FROM %1$s e
                 WHERE %2$s%3$s
                   AND (e.transaction_id, e.global_id) > %4$s AND (e.transaction_id, e.global_id) < %5$s
                   AND (%6$s - %7$L::text[] = '{}' OR orisun.has_tags(e.event_type, e.data, %6$s - %7$L::text[]))
                 ORDER BY e.transaction_id %8$s, e.global_id %8$s LIMIT %9$s$sql$,
               p_events,
               string_agg(format('%s = %s AND %s = %s ->> %L', f.expression,
                                 orisun.typed_expression(format('(%s ->> %L)', p_criterion, f.key), f.type),
                                 orisun.key_expression('e.', f.key), p_criterion, f.key), ' AND ' ORDER BY f.ordinal),
               coalesce(' AND ' || p_index.condition, ''), p_after, p_end, p_criterion, p_index.field_keys,
               CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END, p_count)
      FROM unnest(p_index.field_keys, p_index.field_types, p_index.field_expressions)
          WITH ORDINALITY AS f(key, type, expression, ordinal)
$$;

COMMENT ON FUNCTION orisun.render_index_scan(regclass, orisun.boundary_index, text, text, text, boolean, text) IS
$$The SQL that finds the events that match a criterion by an index which serves it. Each field is compared twice: as the
index keeps it, and as the text that a tag means. Tags beyond the index's fields filter what it finds. The order is that
of the pair (transaction_id, global_id), with which these indexes end and no other one does: so the planner has one way
to choose, whatever its statistics say.$$;

CREATE FUNCTION orisun.render_choose_index(p_boundary text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(E'\n    SELECT CASE'
                    || string_agg(format(E'\n        WHEN %s THEN %L', orisun.render_index_condition(i.index),
                                         (i.index).name),
                                  '' ORDER BY i.rank)
                    || E'\n        ELSE '''' END\n', E' SELECT ''''::text ')
      FROM (SELECT i AS index, row_number() OVER () AS rank FROM orisun.find_indexes(p_boundary) i) i
$$;

COMMENT ON FUNCTION orisun.render_choose_index(text) IS $$The body of a boundary's own choose_index.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.render_lookup(p_events regclass, p_index orisun.boundary_index) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format($sql$
        %1$s
            RETURN QUERY
            SELECT e.*, c.owner
              FROM unnest(p_criteria, p_owners, v_indexes) AS c(criterion, owner, index)
             CROSS JOIN LATERAL (
                %2$s) e
             WHERE c.index = %3$L;$sql$,
            d.branch,
            orisun.render_index_scan(
                p_events, p_index, 'c.criterion',
                '(coalesce(p_after_transaction_ids[c.owner], -1), coalesce(p_after_global_ids[c.owner], -1))',
                '(coalesce(p_end_transaction_id, 9223372036854775807), coalesce(p_end_global_id, '
                '9223372036854775807))',
                d.descending, 'p_count'),
            p_index.name), '' ORDER BY d.descending DESC) || E'\n        END IF;'
      FROM (VALUES (true, 'IF p_descending THEN'), (false, 'ELSE')) AS d(descending, branch)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.render_lookup(regclass, orisun.boundary_index) IS
$$What a boundary's own lookup does for the criteria of one index.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.render_find_dependents(p_index orisun.boundary_index) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($sql$
        v_found := v_found || ARRAY(
            SELECT c.owner
              FROM unnest(p_owners, p_criteria, v_indexes) AS c(owner, criterion, index)
              JOIN unnest(p_event_requests, p_event_types, p_data) AS n(request, event_type, data)
                ON %2$s
             WHERE c.index = %1$L AND n.request < c.owner AND (p_requests IS NULL OR n.request = ANY (p_requests))
               AND (c.criterion - %3$L::text[] = '{}'
                    OR orisun.has_tags(n.event_type, n.data, c.criterion - %3$L::text[])));$sql$,
            p_index.name,
            (SELECT string_agg(format('%s = c.criterion ->> %L', orisun.key_expression('n.', f.key), f.key), ' AND '
                               ORDER BY f.ordinal)
               FROM unnest(p_index.field_keys) WITH ORDINALITY AS f(key, ordinal)),
            p_index.field_keys)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.render_find_dependents(orisun.boundary_index) IS
$$What a boundary's own find_dependents does for the criteria of one index.$$;

CREATE FUNCTION orisun.render_branches(p_boundary text, p_function text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(string_agg(format(E'\n    IF %L = ANY (v_indexes) THEN%s\n    END IF;', (i.index).name,
                                      CASE p_function
                                          WHEN 'lookup' THEN orisun.render_lookup(b.events, i.index)
                                          WHEN 'find_dependents' THEN orisun.render_find_dependents(i.index) END),
                               '' ORDER BY i.rank), '')
      FROM orisun.find_boundary(p_boundary) b
     CROSS JOIN LATERAL (SELECT i AS index, row_number() OVER () AS rank FROM orisun.find_indexes(p_boundary) i) i
$$;

COMMENT ON FUNCTION orisun.render_branches(text, text) IS
$$The branches of a boundary's own lookup or find_dependents, one for each index.$$;

CREATE FUNCTION orisun.are_covered(p_number integer, p_criteria jsonb[], p_indexes text[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (
        SELECT FROM unnest(p_criteria, p_indexes) AS c(criterion, index)
         WHERE c.criterion <> '{}' AND NOT EXISTS (
                   SELECT FROM orisun.boundary b
                     JOIN orisun.boundary_index i ON i.boundary = b.name
                    WHERE b.number = p_number AND i.name = c.index
                      AND c.criterion - i.field_keys - ARRAY(SELECT f.key
                                                               FROM unnest(i.condition_keys,
                                                                   i.condition_operators) AS f(key, operator)
                                                              WHERE f.operator = '=' AND i.combinator = 'AND') = '{}'))
$$;

COMMENT ON FUNCTION orisun.are_covered(integer, jsonb[], text[]) IS
$$Returns whether for each criterion the index by which it is looked up leaves nothing to filter: each tag is one of its
fields or is fixed by its conditions. Then a scan takes as long as there are matches, however many other events lie
between. p_number is the boundary's.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.clone_functions(p_boundary text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET check_function_bodies = off
SET jit = off -- with hundreds of boundaries PostgreSQL would compile these queries for half a second each time
AS $$
DECLARE
    v_boundary orisun.boundary;
    v_prefix   text := p_boundary || '_orisun_';
    v_function record;
    v_new      text;
BEGIN
    -- Two sessions that replace the same function at once would fail.
    SELECT b.* INTO v_boundary FROM orisun.boundary b WHERE b.name = p_boundary
       AND b.status = 'ACTIVE' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM orisun.find_boundary(p_boundary);
    END IF;

    -- Clones of what is no template any more, or has other parameters now, and functions that others made under the
    -- names of clones: one that is replaced would stay theirs. Those of boundary a_orisun_b are not boundary a's.
    -- Before PostgreSQL 15 the database's owner may not drop another role's functions in schema public: overloads stay,
    -- and are never called, as each call has the template's types.
    FOR v_function IN
        SELECT p.oid::regprocedure AS clone
          FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
         WHERE s.nspname = v_boundary.schema_name AND starts_with(p.proname, v_prefix)
           AND strpos(substr(p.proname, length(v_prefix)), '_orisun_') = 0
           AND (pg_has_role(p.proowner, 'USAGE') OR pg_has_role(s.nspowner, 'USAGE')
                OR EXISTS (SELECT FROM pg_proc t
                            WHERE t.pronamespace = 'orisun_boundary'::regnamespace AND v_prefix || t.proname = p.proname
                              AND t.proargtypes = p.proargtypes))
           AND (NOT EXISTS (SELECT FROM pg_proc t
                             WHERE t.pronamespace = 'orisun_boundary'::regnamespace
                               AND v_prefix || t.proname = p.proname
                               AND (t.proargtypes, t.prorettype, t.proretset) = (p.proargtypes, p.prorettype,
                                   p.proretset)
                               AND t.proargnames IS NOT DISTINCT FROM p.proargnames)
                OR p.proowner NOT IN (SELECT current_user::regrole UNION ALL
                                      SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'orisun' UNION ALL
                                      SELECT c.relowner FROM pg_class c
                                       WHERE c.oid = to_regclass(format('%I.%I', v_boundary.schema_name,
                                           v_prefix || 'es_event'))))
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function.clone);
    END LOOP;

    FOR v_function IN
        SELECT t.proname AS name, regexp_replace(pg_get_functiondef(t.oid), '\morisun_boundary\.(\w+)',
                                                 format('"%s"."%s\1"', v_boundary.schema_name, v_prefix),
                                                 'g') AS definition,
               format('%I.%I(%s)', v_boundary.schema_name, v_prefix || t.proname,
                      pg_get_function_identity_arguments(t.oid)) AS clone,
               obj_description(t.oid, 'pg_proc') AS comment, p.prosrc AS old,
               obj_description(p.oid, 'pg_proc') AS old_comment
          FROM pg_proc t
          LEFT JOIN pg_proc p ON p.pronamespace = to_regnamespace(quote_ident(v_boundary.schema_name))
            AND p.proname = v_prefix || t.proname
                             AND p.proargtypes = t.proargtypes
         WHERE t.pronamespace = 'orisun_boundary'::regnamespace
         ORDER BY t.proname
    LOOP
        v_new := CASE
            WHEN v_function.name = 'number' THEN
                replace(v_function.definition, ' SELECT 0 ', format(' SELECT %s ', v_boundary.number))
            WHEN v_function.name = 'choose_index' THEN
                replace(v_function.definition, ' SELECT ''''::text ', orisun.render_choose_index(p_boundary))
            WHEN v_function.name IN ('lookup', 'find_dependents') THEN
                regexp_replace(v_function.definition, '\n *-- indexes: [^\n]*',
                               replace(orisun.render_branches(p_boundary, v_function.name), '\', '\\'))
            ELSE v_function.definition END;
        -- To replace a function makes every session plan its statements again.
        CONTINUE WHEN strpos(v_new, v_function.old) > 0 AND v_function.old_comment = v_function.comment;
        EXECUTE v_new;
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', v_function.clone, v_function.comment);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', v_function.clone);
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.clone_functions(text) IS
$$Gives a boundary its own copies of the functions in schema orisun_boundary, and renders its lookup from the indexes
that it has and their statistics. It runs when a boundary is created, when its indexes change, and at the end of each
release's migrations. What has not changed stays as it is. Raises OR001 for an unknown boundary.

  SELECT orisun.clone_functions(b.name) FROM orisun.boundary b WHERE b.status = 'ACTIVE'$$;

-- +goose Down
DROP FUNCTION orisun.clone_functions(text);
DROP FUNCTION orisun.are_covered(integer, jsonb[], text[]);
DROP FUNCTION orisun.render_branches(text, text);
DROP FUNCTION orisun.render_find_dependents(orisun.boundary_index);
DROP FUNCTION orisun.render_lookup(regclass, orisun.boundary_index);
DROP FUNCTION orisun.render_choose_index(text);
DROP FUNCTION orisun.render_index_scan(regclass, orisun.boundary_index, text, text, text, boolean, text);
DROP FUNCTION orisun.render_index_condition(orisun.boundary_index);
DROP FUNCTION orisun.has_tags(text, jsonb, jsonb);
DROP FUNCTION orisun_boundary.find_dependents(integer[], integer[], jsonb[], integer[], text[], text[], jsonb[]);
DROP FUNCTION orisun_boundary.lookup(jsonb[], integer[], bigint[], bigint[], bigint, bigint, boolean, integer);
DROP TABLE orisun.found_event;
DROP FUNCTION orisun_boundary.choose_indexes(jsonb[]);
DROP FUNCTION orisun_boundary.choose_index(jsonb);
DROP FUNCTION orisun_boundary.number();
DROP TABLE orisun_boundary.es_event;
DROP SCHEMA orisun_boundary;
