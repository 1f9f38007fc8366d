-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION orisun.try_numeric(p_text text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN octet_length(p_text) <= 128
       AND p_text COLLATE "C" ~ '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$'
                THEN p_text::numeric END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_numeric(text) IS
$$A number of at most 128 bytes, its exponent of at most three digits, as numeric; NULL for anything else, never an
error: indexes call it on whatever an event holds, and the number must fit an index's entry. It has no search_path of
its own, so that it is inlined into queries.$$;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION orisun.try_boolean(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE p_text WHEN 'true' THEN true WHEN 'false' THEN false END $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_boolean(text) IS
$$JSON's true and false, or strings that say so, as boolean; NULL for anything else, never an error. It has no
search_path of its own, so that it is inlined into queries.$$;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION orisun.try_timestamptz(p_text text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    v_year  integer;
    v_month integer;
BEGIN
    -- With the year first and an explicit offset, neither DateStyle nor TimeZone changes what the text means.
    IF p_text IS NULL OR octet_length(p_text) > 64 OR p_text COLLATE "C" !~
       '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]'
       '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?([Zz]|[-+](0[0-9]|1[0-5])(:?[0-5][0-9])?)$' THEN
        RETURN NULL;
    END IF;
    v_year := substr(p_text, 1, 4);
    v_month := substr(p_text, 6, 2);
    IF v_year = 0 OR substr(p_text, 9, 2)::integer > (CASE
           WHEN v_month IN (4, 6, 9, 11) THEN 30
           WHEN v_month <> 2 THEN 31
           WHEN v_year % 4 = 0 AND (v_year % 100 <> 0 OR v_year % 400 = 0) THEN 29
           ELSE 28 END) THEN
        RETURN NULL;
    END IF;
    RETURN p_text::timestamptz;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_timestamptz(text) IS
$$A time in ISO 8601 with its offset, such as 2026-11-23T06:30:00.5Z or 2026-11-23 08:30+02:00, as timestamptz; NULL for
anything else, never an error. A time without an offset is NULL, because it would mean another moment in each session's
time zone.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.index_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792777 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.index_class() IS
$$The first key of the advisory locks under which indexes are made and dropped; the second is the boundary's number. The
number spells ORII in ASCII. Two CREATE INDEX CONCURRENTLY on one table would wait for each other's snapshot, so a
boundary has one at a time.$$;

CREATE TABLE orisun.boundary_index (
    boundary            text        NOT NULL REFERENCES orisun.boundary (name),
    name                text        NOT NULL,
    field_keys          text[]      NOT NULL,
    field_types         text[]      NOT NULL,
    field_expressions   text[]      NOT NULL,
    condition_keys      text[]      NOT NULL,
    condition_operators text[]      NOT NULL,
    condition_values    text[]      NOT NULL,
    combinator          text        NOT NULL CHECK (combinator IN ('AND', 'OR')),
    relation            text        NOT NULL UNIQUE,
    condition           text,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (boundary, name)
);

COMMENT ON TABLE orisun.boundary_index IS
$$The definitions of the indexes of all boundaries. Rows come from orisun.create_index, and orisun.list_indexes lists
which of them are ready. A row counts only while its index exists and is valid, so an index dropped by hand slows
queries down and breaks none.$$;
COMMENT ON COLUMN orisun.boundary_index.field_keys IS
$$event_type stands for the event's type, whichever of its two names was used.$$;
COMMENT ON COLUMN orisun.boundary_index.field_types IS $$One a field: TEXT, NUMERIC, BOOLEAN or TIMESTAMPTZ.$$;
COMMENT ON COLUMN orisun.boundary_index.field_expressions IS
$$One a field: what the index keeps of it, as SQL over an event called e.$$;
COMMENT ON COLUMN orisun.boundary_index.relation IS $$The index's qualified name, quoted where it has to be.$$;
COMMENT ON COLUMN orisun.boundary_index.condition IS
$$The conditions as SQL over an event called e. Beside a criterion that fulfils them it changes nothing, and lets the
planner see that the partial index may be used.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.typed_expression(p_text text, p_type text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE p_type
        WHEN 'TEXT' THEN format('left(%s, 128) COLLATE "C"', p_text)
        WHEN 'NUMERIC' THEN format('orisun.try_numeric(%s)', p_text)
        WHEN 'BOOLEAN' THEN format('orisun.try_boolean(%s)', p_text)
        WHEN 'TIMESTAMPTZ' THEN format('orisun.try_timestamptz(%s)', p_text)
    END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.typed_expression(text, text) IS
$$The SQL that an index of a type stores of a text. An index must not make a save fail: of a TEXT the first 128
characters are stored, since an entry of a b-tree has at most 2,704 bytes, and what a typed field does not understand is
NULL. COLLATE "C" makes the order, and so the index, independent of the operating system's locales.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.satisfies(p_value text, p_operator text, p_operand text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(
        CASE WHEN p_operator = '=' THEN p_value = p_operand
             WHEN orisun.try_numeric(p_operand) IS NOT NULL THEN
                 CASE p_operator WHEN '>' THEN orisun.try_numeric(p_value) > orisun.try_numeric(p_operand)
                                 WHEN '<' THEN orisun.try_numeric(p_value) < orisun.try_numeric(p_operand)
                                 WHEN '>=' THEN orisun.try_numeric(p_value) >= orisun.try_numeric(p_operand)
                                 WHEN '<=' THEN orisun.try_numeric(p_value) <= orisun.try_numeric(p_operand) END
             ELSE
                 CASE p_operator WHEN '>' THEN p_value COLLATE "C" > p_operand
                                 WHEN '<' THEN p_value COLLATE "C" < p_operand
                                 WHEN '>=' THEN p_value COLLATE "C" >= p_operand
                                 WHEN '<=' THEN p_value COLLATE "C" <= p_operand END
        END, false)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.satisfies(text, text, text) IS
$$Whether a value fulfils an index's condition: what orisun.condition_expression writes as SQL, decided for one value.
  =            compares texts
  > < >= <=    compare numbers when the condition's value is one (orisun.try_numeric), else texts, byte by byte$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.condition_expression(p_event text, p_keys text[], p_operators text[], p_values text[],
                                            p_combinator text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '(' || string_agg(
               CASE WHEN c.operator <> '=' AND orisun.try_numeric(c.value) IS NOT NULL
                    THEN format('orisun.try_numeric(%s) %s %L::numeric', orisun.key_expression(p_event, c.key),
                                c.operator, orisun.try_numeric(c.value))
                    ELSE format('%s COLLATE "C" %s %L', orisun.key_expression(p_event, c.key), c.operator, c.value)
               END, CASE p_combinator WHEN 'OR' THEN ' OR ' ELSE ' AND ' END ORDER BY c.ordinal) || ')'
      FROM unnest(p_keys, p_operators, p_values) WITH ORDINALITY AS c(key, operator, value, ordinal)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.condition_expression(text, text[], text[], text[], text) IS
$$The conditions of a partial index as SQL, NULL when there are none; p_event stands before the columns: 'e.' in a
query, nothing in an index. orisun.satisfies decides the same for one value.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.lock_indexes(p_boundary text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer;
    v_events regclass;
    v_owner  text;
BEGIN
    SELECT b.number, b.events INTO v_number, v_events FROM orisun.find_boundary(p_boundary) b;
    SELECT pg_get_userbyid(c.relowner) INTO v_owner FROM pg_class c
     WHERE c.oid = v_events AND NOT pg_has_role(c.relowner, 'USAGE');
    IF FOUND THEN
        RAISE EXCEPTION 'only the owner of table % changes its indexes, and that is the role %', v_events, v_owner
            USING ERRCODE = '42501', HINT = 'Let that role do it in psql, or make this role a member of it.';
    END IF;
    -- Held already, it is not to be taken twice, since it would have to be released twice.
    RETURN EXISTS (SELECT FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted AND l.objsubid = 2
                      AND l.classid = orisun.index_class()::oid AND l.objid = v_number::oid)
        OR pg_try_advisory_lock(orisun.index_class(), v_number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_indexes(text) IS
$$Takes, for this session, the right to make and drop a boundary's indexes, if no other session has
it; orisun.finish_indexing gives it back. It never waits: a waiting session would hold a snapshot, and CREATE INDEX
CONCURRENTLY waits for all of them to end. Raises OR001 for an unknown boundary, 42501 for a role that does not own the
boundary's table.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.begin_indexing(p_boundary text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RAISE EXCEPTION 'another session makes or drops an index of boundary "%"', p_boundary
            USING ERRCODE = 'OR011',
                  DETAIL = jsonb_build_object('boundary', p_boundary)::text,
                  HINT = 'Try again when it is done; orisun.list_indexes shows how far it is.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.begin_indexing(text) IS
$$Takes the right of orisun.lock_indexes. Raises OR011 while another session has it.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.finish_indexing(p_boundary text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RETURN;
    END IF;
    DELETE FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND to_regclass(i.relation) IS NULL;
    PERFORM orisun.clone_functions(p_boundary);
    PERFORM pg_advisory_unlock(orisun.index_class(), (orisun.find_boundary(p_boundary)).number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.finish_indexing(text) IS
$$Deletes definitions whose index does not exist, renders the boundary's lookup again (orisun.clone_functions), and
gives up the right of orisun.lock_indexes: the last of the statements that orisun.create_index, orisun.drop_index and
orisun.clean_indexes return. It does nothing while another session has that right.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_indexes(p_boundary text) RETURNS SETOF orisun.boundary_index
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.*
      FROM orisun.boundary_index i
      JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indisvalid
      JOIN pg_class r ON r.oid = x.indexrelid
     -- How many entries share one value of the fields: n_distinct is a number of values or, when negative, a share of
     -- the entries.
     CROSS JOIN LATERAL (SELECT greatest(r.reltuples, 1) / coalesce(exp(sum(ln(greatest(
                                    CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * r.reltuples ELSE s.n_distinct END,
                                        1)))), 1) AS matches
                           FROM pg_namespace n
                           JOIN pg_attribute a ON a.attrelid = x.indexrelid AND a.attnum <= cardinality(i.field_keys)
                           JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = r.relname
                             AND s.attname = a.attname
                          WHERE n.oid = r.relnamespace) f
     WHERE i.boundary = p_boundary
     ORDER BY i.field_keys = ARRAY['event_type'], f.matches, cardinality(i.field_keys) DESC,
         cardinality(i.condition_keys) DESC, i.name
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_indexes(text) IS
$$Returns the indexes of a boundary that exist and are valid, the best one first: the one with the fewest events per
value, by the statistics of the last ANALYZE; without statistics the one with more fields. An index on nothing but the
event's type comes last, since types are few.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.check_index(p_index orisun.boundary_index) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_wrong text := CASE
        WHEN cardinality(p_index.field_keys) NOT BETWEEN 1 AND 5
            OR cardinality(p_index.field_types) <> cardinality(p_index.field_keys)
            THEN 'it has one to five fields, each with a type'
        WHEN array_position(p_index.field_keys, NULL) IS NOT NULL
            OR array_position(p_index.field_types, NULL) IS NOT NULL
            THEN 'no field is NULL'
        WHEN NOT p_index.field_types <@ ARRAY['TEXT', 'NUMERIC', 'BOOLEAN', 'TIMESTAMPTZ']
            THEN 'a field''s type is TEXT, NUMERIC, BOOLEAN or TIMESTAMPTZ'
        WHEN cardinality(p_index.field_keys) <> (SELECT count(DISTINCT f.key) FROM unnest(p_index.field_keys) f(key))
            THEN 'no field comes twice'
        WHEN EXISTS (SELECT FROM unnest(p_index.field_keys, p_index.field_types) f(key, type) WHERE f.key = 'event_type'
                        AND f.type <> 'TEXT')
            THEN 'the event''s type is a TEXT'
        WHEN cardinality(p_index.condition_keys) > 8
            OR cardinality(p_index.condition_operators) <> cardinality(p_index.condition_keys)
          OR cardinality(p_index.condition_values) <> cardinality(p_index.condition_keys)
            THEN 'it has at most eight conditions, each with key, operator and value'
        WHEN array_position(p_index.condition_keys || p_index.condition_operators || p_index.condition_values,
                            NULL) IS NOT NULL
            THEN 'no part of a condition is NULL'
        WHEN NOT p_index.condition_operators <@ ARRAY['=', '>', '<', '>=', '<=']
            THEN 'a condition''s operator is = > < >= or <='
        WHEN EXISTS (SELECT FROM unnest(p_index.field_keys || p_index.condition_keys
                                        || p_index.condition_values) t(text) WHERE octet_length(t.text) > 256)
          OR '' = ANY (p_index.field_keys || p_index.condition_keys)
            THEN 'a key has 1 to 256 bytes, a condition''s value at most 256'
        WHEN EXISTS (SELECT FROM unnest(p_index.field_keys || p_index.condition_keys
                                        || p_index.condition_values) t(text) WHERE t.text ~ '^\s|\s$')
            THEN 'no key and no condition''s value begins or ends with space, which counts, too'
        WHEN octet_length(array_to_string(p_index.field_keys || p_index.condition_keys || p_index.condition_values,
                                          '')) > 2048
            THEN 'its keys and values have at most 2048 bytes together'
        WHEN p_index.combinator NOT IN ('AND', 'OR')
            THEN 'the combinator is AND or OR'
    END;
BEGIN
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the index "%" is malformed: %', p_index.name, v_wrong
            USING ERRCODE = 'OR007', HINT = '\df+ orisun.create_index describes what an index can be.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_index(orisun.boundary_index) IS
$$Raises OR007 when a definition is none that orisun.create_index can build. The limits keep an entry of the index
within the 2,704 bytes of a b-tree's, and the definition within a row of pg_index, which has no room beside its page.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.drop_broken_indexes(p_boundary text) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', i.relation)
      FROM orisun.boundary_index i
      JOIN pg_index x ON x.indexrelid = to_regclass(i.relation)
        AND x.indrelid = (orisun.find_boundary(p_boundary)).events
     WHERE i.boundary = p_boundary AND NOT x.indisvalid
     ORDER BY i.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.drop_broken_indexes(text) IS
$$The statements that drop what is left of builds that failed. Only who has the right of orisun.lock_indexes may run
them: an index that another session is building looks the same.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.has_index(p_index orisun.boundary_index) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_old orisun.boundary_index;
BEGIN
    SELECT i.* INTO v_old
      FROM orisun.boundary_index i
      JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indisvalid
     WHERE i.boundary = p_index.boundary AND i.name = p_index.name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF (v_old.field_keys, v_old.field_types, v_old.condition_keys, v_old.condition_operators, v_old.condition_values,
        v_old.combinator)
       <> (p_index.field_keys, p_index.field_types, p_index.condition_keys, p_index.condition_operators,
           p_index.condition_values, p_index.combinator) THEN
        RAISE EXCEPTION 'index "%" of boundary "%" exists already with another definition', p_index.name,
            p_index.boundary
            USING ERRCODE = 'OR010',
                  DETAIL = jsonb_build_object('boundary', p_index.boundary, 'index', p_index.name,
                                              'relation', p_index.relation)::text,
                  HINT = 'Drop it first, or choose another name.';
    END IF;
    RETURN true;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.has_index(orisun.boundary_index) IS
$$Returns whether the index of a definition exists and is valid. Raises OR010 when one of its name has another
definition.$$;

CREATE FUNCTION orisun.render_create_index(p_events regclass, p_index orisun.boundary_index) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Criteria on a field match no event without it, so such events need no entry.
    SELECT format('CREATE INDEX CONCURRENTLY %I ON %s (%s, transaction_id, global_id)%s',
                  p_index.boundary || '_' || p_index.name || '_idx', p_events,
                  string_agg(format('(%s)', orisun.typed_expression(f.expression, f.type)), ', ' ORDER BY f.ordinal),
                  ' WHERE ' || nullif(concat_ws(' AND ',
                      string_agg(f.expression || ' IS NOT NULL', ' AND ' ORDER BY f.ordinal)
                          FILTER (WHERE f.key <> 'event_type'),
                      orisun.condition_expression('', p_index.condition_keys, p_index.condition_operators,
                                                  p_index.condition_values, p_index.combinator)), ''))
      FROM (SELECT n.key, n.type, n.ordinal, orisun.key_expression('', n.key) AS expression
              FROM unnest(p_index.field_keys, p_index.field_types) WITH ORDINALITY AS n(key, type, ordinal)) f
$$;

COMMENT ON FUNCTION orisun.render_create_index(regclass, orisun.boundary_index) IS
$$The statement that builds an index of a boundary's table of events.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.create_index(
    p_boundary            text,
    p_name                text,
    p_field_keys          text[],
    p_field_types         text[],
    p_condition_keys      text[] DEFAULT '{}',
    p_condition_operators text[] DEFAULT '{}',
    p_condition_values    text[] DEFAULT '{}',
    p_combinator          text   DEFAULT 'AND'
) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary record := orisun.find_boundary(p_boundary);
    v_relation text   := format('%I.%I', v_boundary.schema_name, p_boundary || '_' || p_name || '_idx');
    v_new      orisun.boundary_index;
BEGIN
    PERFORM orisun.check_name('index', p_name, 63 - octet_length(p_boundary || '__idx'));
    v_new.boundary := p_boundary;
    v_new.name := p_name;
    v_new.field_keys := array_replace(p_field_keys, 'eventType', 'event_type');
    v_new.field_types := p_field_types;
    v_new.condition_keys := array_replace(p_condition_keys, 'eventType', 'event_type');
    v_new.condition_operators := p_condition_operators;
    v_new.condition_values := p_condition_values;
    v_new.combinator := CASE WHEN cardinality(p_condition_keys) < 2 THEN 'AND' ELSE p_combinator END;
    v_new.field_expressions := ARRAY(SELECT orisun.typed_expression(orisun.key_expression('e.', f.key), f.type)
                                       FROM unnest(v_new.field_keys, v_new.field_types)
                                           WITH ORDINALITY AS f(key, type, ordinal) ORDER BY f.ordinal);
    v_new.relation := v_relation;
    v_new.condition := orisun.condition_expression('e.', v_new.condition_keys, v_new.condition_operators,
                                                   v_new.condition_values, v_new.combinator);
    v_new.created_at := clock_timestamp();
    PERFORM orisun.check_index(v_new);

    IF orisun.has_index(v_new) THEN
        RETURN;
    END IF;
    PERFORM orisun.begin_indexing(p_boundary);
    IF orisun.has_index(v_new) THEN -- another session has just built it
        RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
        RETURN;
    END IF;

    RETURN QUERY SELECT orisun.drop_broken_indexes(p_boundary);
    -- Boundary a's index b_c and boundary a_b's index c would have one name.
    IF coalesce((SELECT i.boundary <> p_boundary FROM orisun.boundary_index i WHERE i.relation = v_relation),
                to_regclass(v_relation) IS NOT NULL) THEN
        PERFORM orisun.finish_indexing(p_boundary);
        RAISE EXCEPTION 'relation % exists already and is no index of boundary "%"', v_relation, p_boundary
            USING ERRCODE = 'OR010',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'index', p_name, 'relation', v_relation)::text,
                  HINT = 'Choose another name.';
    END IF;
    DELETE FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND i.name = p_name;
    INSERT INTO orisun.boundary_index SELECT v_new.*;

    RETURN NEXT orisun.render_create_index(v_boundary.events, v_new);
    -- Of an expression the planner knows nothing before the table is analyzed.
    RETURN NEXT format('ANALYZE %s', v_boundary.events);
    RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_index(text, text, text[], text[], text[], text[], text[], text) IS
$$Defines an index, named {boundary}_{name}_idx, and answers the statements that build it, to be run one after the other
in this session and in no transaction. No statement: it exists already with this definition. In psql:

  SELECT orisun.create_index('orders', 'user_id', ARRAY['user_id'], ARRAY['TEXT']) \gexec

  p_field_keys, p_field_types                              one to five fields, as keys of tags; TEXT, NUMERIC, BOOLEAN
                                                           or TIMESTAMPTZ
  p_condition_keys, p_condition_operators,
  p_condition_values                                       the index holds the events for which these conditions hold: =
                                                           > < >= <=, at most eight
  p_combinator                                             AND: for which all do; OR: for which one does

It serves criteria that have a tag for each of its fields. The position is its last part, so events come out of it in
order. While it is built saves go on. What is left of a build that failed is removed first. Raises OR001 for an unknown
boundary, OR002 for the name, OR007 for a malformed definition, OR010 when the name is taken, OR011 while another
session makes or drops an index of the boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.drop_index(p_boundary text, p_name text) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_relation text;
BEGIN
    PERFORM orisun.find_boundary(p_boundary);
    SELECT i.relation INTO v_relation FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND i.name = p_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boundary "%" has no index %', p_boundary, coalesce(quote_literal(p_name), 'NULL')
            USING ERRCODE = 'OR009',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'index', p_name)::text,
                  HINT = 'SELECT name FROM orisun.list_indexes(boundary) lists those that it has.';
    END IF;
    PERFORM orisun.begin_indexing(p_boundary);
    RETURN QUERY VALUES (format('DROP INDEX CONCURRENTLY IF EXISTS %s', v_relation)),
        (format('SELECT orisun.finish_indexing(%L)', p_boundary));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.drop_index(text, text) IS
$$The statements that drop an index and its definition, to be run one after the other in this session and in no
transaction. In psql:

  SELECT orisun.drop_index('orders', 'user_id') \gexec

Raises OR001 for an unknown boundary, OR009 for an unknown index, OR011 while another session makes or drops an index of
the boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.clean_indexes(p_boundary text) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT orisun.drop_broken_indexes(p_boundary);
    RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.clean_indexes(text) IS
$$The statements that remove what builds left which were cancelled or killed: invalid indexes, and definitions without
an index. They are run one after the other in this session and in no transaction. None while another session makes or
drops an index of the boundary, which cleans by itself. Servers do so when they start. Raises OR001 for an unknown
boundary.

  SELECT orisun.clean_indexes('orders') \gexec$$;

CREATE TABLE orisun.listed_index (
    name                text        NOT NULL,
    field_keys          text[]      NOT NULL,
    field_types         text[]      NOT NULL,
    condition_keys      text[]      NOT NULL,
    condition_operators text[]      NOT NULL,
    condition_values    text[]      NOT NULL,
    combinator          text        NOT NULL,
    state               text        NOT NULL,
    phase               text        NOT NULL,
    percent             integer     NOT NULL,
    scans               bigint      NOT NULL,
    size_bytes          bigint      NOT NULL,
    created_at          timestamptz NOT NULL,
    counted_since       timestamptz NOT NULL
);

COMMENT ON TABLE orisun.listed_index IS
$$The shape of what orisun.list_indexes returns. It holds no rows.

  state             READY, or BUILDING while queries cannot use it yet
  phase, percent    how far a build is: PostgreSQL's name of the phase (pg_stat_progress_create_index), and how much of
                    that phase is done
  scans             how often it was used since counted_since, at least
  counted_since     when the index was made, the database's statistics were reset or PostgreSQL started, whichever was
                    last
  size_bytes        what it takes on disk$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_indexes(p_boundary text) RETURNS SETOF orisun.listed_index
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number   integer := (orisun.find_boundary(p_boundary)).number;
    v_building boolean := EXISTS (SELECT FROM pg_locks l
                                   WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
                                     AND l.database = (SELECT d.oid FROM pg_database d
                                                        WHERE d.datname = current_database())
                                     AND l.classid = orisun.index_class()::oid AND l.objid = v_number::oid);
BEGIN
    RETURN QUERY
    SELECT i.name, i.field_keys, i.field_types, i.condition_keys, i.condition_operators, i.condition_values,
           i.combinator,
           CASE WHEN x.indisvalid THEN 'READY' ELSE 'BUILDING' END,
           coalesce(p.phase, ''),
           CASE WHEN x.indisvalid THEN 100
                ELSE coalesce(100 * CASE WHEN p.blocks_total > 0 THEN p.blocks_done::numeric / p.blocks_total
                                         WHEN p.tuples_total > 0 THEN p.tuples_done::numeric / p.tuples_total
                                         WHEN p.lockers_total > 0 THEN p.lockers_done::numeric / p.lockers_total END,
                                             0)::integer END,
           coalesce(pg_stat_get_numscans(x.indexrelid), 0),
           coalesce(pg_relation_size(x.indexrelid), 0),
           i.created_at,
           greatest(i.created_at, pg_postmaster_start_time(),
                    pg_stat_get_db_stat_reset_time((SELECT d.oid FROM pg_database d
                                                     WHERE d.datname = current_database())))
      FROM orisun.boundary_index i
      LEFT JOIN pg_index x ON x.indexrelid = to_regclass(i.relation)
      LEFT JOIN pg_stat_progress_create_index p ON p.index_relid = x.indexrelid AND p.datname = current_database()
     WHERE i.boundary = p_boundary AND (x.indisvalid OR v_building)
     ORDER BY i.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_indexes(text) IS
$$The indexes of a boundary, by name: which there are, which are ready, how much they are used. A definition whose index
was dropped by hand, or whose build failed, is not listed. Raises OR001 for an unknown boundary.

  SELECT * FROM orisun.list_indexes('orders')$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.count_indexes() RETURNS TABLE (boundary text, indexes bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT i.boundary, count(*)
  FROM orisun.boundary_index i
  JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indisvalid
 GROUP BY i.boundary
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.count_indexes() IS
$$How many indexes that queries can use each boundary has. A boundary without any is not in the result.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.is_served(p_boundary text, p_keys text[]) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_keys text[] := array_replace(p_keys, 'eventType', 'event_type');
BEGIN
    PERFORM orisun.find_boundary(p_boundary);
    RETURN v_keys = '{}' OR EXISTS (
        SELECT FROM orisun.find_indexes(p_boundary) i
         WHERE i.field_keys <@ v_keys AND (i.field_keys <> ARRAY['event_type'] OR v_keys <@ ARRAY['event_type']));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.is_served(text, text[]) IS
$$Returns whether an index serves criteria whose tags have these keys, for some values at least. An index on nothing but
the event's type does not count where there are other keys: types are few, so it leaves most of a boundary to be read.
Raises OR001 for an unknown boundary.

  SELECT orisun.is_served('orders', ARRAY['user_id'])$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_unfinished_indexes() RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT i.boundary
      FROM orisun.boundary_index i
     WHERE NOT EXISTS (SELECT FROM pg_index x WHERE x.indexrelid = to_regclass(i.relation) AND x.indisvalid);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_unfinished_indexes() IS
$$The boundaries that have definitions without a valid index: builds that are under way, or that were killed (see
orisun.clean_indexes).$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_keys(p_boundary text, p_count integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT DISTINCT k.key FROM (SELECT e.data FROM %s e ORDER BY e.global_id DESC LIMIT $1) e, '
        'jsonb_object_keys(e.data) k(key)',
        (orisun.find_boundary(p_boundary)).events) USING p_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_keys(text, integer) IS
$$The keys that the data of a boundary's latest events have, of p_count events at most. Raises OR001 for an unknown
boundary.

  SELECT orisun.find_keys('orders', 1000)$$;

-- +goose Down
DROP FUNCTION orisun.find_keys(text, integer);
DROP FUNCTION orisun.is_served(text, text[]);
DROP FUNCTION orisun.find_unfinished_indexes();
DROP FUNCTION orisun.count_indexes();
DROP FUNCTION orisun.list_indexes(text);
DROP TABLE orisun.listed_index;
DROP FUNCTION orisun.clean_indexes(text);
DROP FUNCTION orisun.drop_index(text, text);
DROP FUNCTION orisun.create_index(text, text, text[], text[], text[], text[], text[], text);
DROP FUNCTION orisun.render_create_index(regclass, orisun.boundary_index);
DROP FUNCTION orisun.has_index(orisun.boundary_index);
DROP FUNCTION orisun.drop_broken_indexes(text);
DROP FUNCTION orisun.check_index(orisun.boundary_index);
DROP FUNCTION orisun.find_indexes(text);
DROP FUNCTION orisun.finish_indexing(text);
DROP FUNCTION orisun.begin_indexing(text);
DROP FUNCTION orisun.lock_indexes(text);
DROP FUNCTION orisun.condition_expression(text, text[], text[], text[], text);
DROP FUNCTION orisun.satisfies(text, text, text);
DROP FUNCTION orisun.typed_expression(text, text);
DROP TABLE orisun.boundary_index;
DROP FUNCTION orisun.index_class();
DROP FUNCTION orisun.try_timestamptz(text);
DROP FUNCTION orisun.try_boolean(text);
DROP FUNCTION orisun.try_numeric(text);
