-- +goose Up
CREATE TABLE orisun.boundary (
    name        text        NOT NULL PRIMARY KEY,
    number      integer     NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    schema_name text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    status      text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'FAILED')),
    last_error  text        NOT NULL DEFAULT '',
    existed_before_catalog    boolean NOT NULL DEFAULT false,
    definition_transaction_id bigint,
    definition_global_id      bigint,
    status_transaction_id     bigint,
    status_global_id          bigint
);

COMMENT ON TABLE orisun.boundary IS
$$The registry of boundaries: which exist and in which schema their tables live. Rows come from
orisun.initialize_boundary_tables, for those of a server's configuration, and from orisun.create_boundary.$$;
COMMENT ON COLUMN orisun.boundary.status IS
$$ACTIVE: it has its tables. FAILED: it has none, and last_error says why; to everything but the registry it does not
exist.$$;
COMMENT ON COLUMN orisun.boundary.existed_before_catalog IS
$$Its tables were there already and were adopted, with their events.$$;
COMMENT ON COLUMN orisun.boundary.definition_global_id IS
$$With definition_transaction_id, the position of the definition in the admin boundary, as status_global_id is that of
the status. NULL: the boundary comes from a configuration.$$;
COMMENT ON COLUMN orisun.boundary.number IS
$$The second key of the boundary's advisory lock (the first is orisun.lock_class()).$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.refuse_down_while_events_exist() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary record;
    v_found    boolean;
BEGIN
    FOR v_boundary IN SELECT b.name, b.schema_name FROM orisun.list_boundaries() b
        WHERE b.status = 'ACTIVE' ORDER BY b.name LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', v_boundary.schema_name,
                       v_boundary.name || '_orisun_es_event') INTO v_found;
        IF v_found THEN
            RAISE EXCEPTION 'boundary "%" holds events', v_boundary.name
                USING ERRCODE = 'OR008',
                      HINT = 'Migrations go down on an empty store only. Restore a backup into a new database instead.';
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.refuse_down_while_events_exist() IS
$$Raises OR008 while any boundary holds an event: the last migration calls it before it goes down.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792787 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_class() IS
$$The first key of the advisory locks under which positions are drawn; the second is the boundary's number, or 0 for the
catalogue itself. The number spells ORIS in ASCII. In psql: SELECT * FROM pg_locks WHERE locktype = 'advisory' AND
classid = orisun.lock_class()::oid$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.check_name(p_what text, p_name text, p_limit integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_what = 'schema' AND (p_name LIKE 'pg\_%' OR p_name = 'information_schema') THEN
        RAISE EXCEPTION 'the schema % belongs to PostgreSQL', quote_literal(p_name)
            USING ERRCODE = 'OR002',
                  DETAIL = jsonb_build_object('what', p_what, 'name', p_name)::text,
                  HINT = 'Choose one that is neither pg_* nor information_schema.';
    END IF;
    IF p_what = 'schema' AND p_name IN ('orisun', 'orisun_boundary') THEN
        RAISE EXCEPTION 'the schema % belongs to Orisun', quote_literal(p_name)
            USING ERRCODE = 'OR002',
                  DETAIL = jsonb_build_object('what', p_what, 'name', p_name)::text,
                  HINT = 'Choose one that is neither orisun nor orisun_boundary, such as public.';
    END IF;
    IF p_name IS NULL OR p_name !~ '^[A-Za-z_][A-Za-z0-9_-]*$' OR octet_length(p_name) > p_limit THEN
        RAISE EXCEPTION 'the % name % is invalid', p_what, coalesce(quote_literal(p_name), 'NULL')
            USING ERRCODE = 'OR002',
                  DETAIL = jsonb_build_object('what', p_what, 'name', p_name, 'limit', p_limit)::text,
                  HINT = format('Use 1 to %s of the characters A-Z a-z 0-9 _ -, beginning with a letter or _. '
                                'PostgreSQL cuts longer identifiers in silence, so that two names would meet in one.',
                                p_limit);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_name(text, text, integer) IS
$$Raises OR002 when a name holds other characters than A-Z a-z 0-9 _ -, or more than p_limit of them, or is that of a
schema of PostgreSQL's or of Orisun's own.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.check_boundary_names(p_boundary text, p_schema text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- 37 bytes go to the longest suffix, _orisun_last_published_event_position.
    PERFORM orisun.check_name('boundary', p_boundary, 63 - 37);
    PERFORM orisun.check_name('schema', p_schema, 63);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_boundary_names(text, text) IS
$$Raises OR002 when a boundary cannot have this name, so that no table's name is cut, or cannot live in this schema.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_boundary(p_boundary text, OUT number integer, OUT schema_name text, OUT events regclass)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT b.number, b.schema_name, format('%I.%I', b.schema_name, b.name || '_orisun_es_event')::regclass
      INTO find_boundary.number, find_boundary.schema_name, find_boundary.events
      FROM orisun.boundary b
     WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boundary % does not exist', coalesce(quote_literal(p_boundary), 'NULL')
            USING ERRCODE = 'OR001',
                  DETAIL = jsonb_build_object('boundary', p_boundary)::text,
                  HINT = 'SELECT * FROM orisun.list_boundaries() lists those that do.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_boundary(text) IS
$$Where a boundary's objects are: its number, its schema and its table of events. Every function that takes a boundary's
name begins here. Raises OR001 when there is no such boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_boundary_table(p_boundary text, p_suffix text) RETURNS regclass
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN format('%I.%I', (orisun.find_boundary(p_boundary)).schema_name, p_boundary || p_suffix)::regclass;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_boundary_table(text, text) IS
$$One of a boundary's tables, by what follows the boundary in its name. Raises OR001 for an unknown boundary. SELECT
orisun.find_boundary_table('orders', '_orisun_last_published_event_position')$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_boundary_function(p_boundary text, p_name text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN format('%I.%I', (orisun.find_boundary(p_boundary)).schema_name, p_boundary || '_orisun_' || p_name);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_boundary_function(text, text) IS
$$The name of a boundary's own copy of a function of schema orisun_boundary. Raises OR001 for an unknown boundary.
SELECT orisun.find_boundary_function('orders', 'read_page')$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.has_events_table(p_boundary orisun.boundary) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = p_boundary.schema_name AND c.relname = p_boundary.name || '_orisun_es_event')
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.has_events_table(orisun.boundary) IS
$$Whether the table with a boundary's events is there: it may have been dropped by hand, with its schema for example.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_boundaries() RETURNS SETOF orisun.boundary
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary orisun.boundary;
BEGIN
    FOR v_boundary IN SELECT b.* FROM orisun.boundary b ORDER BY b.name LOOP
        IF v_boundary.status = 'ACTIVE' AND NOT orisun.has_events_table(v_boundary) THEN
            v_boundary.status := 'FAILED';
            v_boundary.last_error := format('table %I.%I is missing: restore it, create the boundary again, '
                                            'or delete it',
                                            v_boundary.schema_name, v_boundary.name || '_orisun_es_event');
        END IF;
        RETURN NEXT v_boundary;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_boundaries() IS
$$All boundaries by name, configured ones, created ones and failed ones. One whose table is missing is FAILED, too.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_boundary(p_boundary text) RETURNS SETOF orisun.boundary
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT b.* FROM orisun.list_boundaries() b WHERE b.name = p_boundary;
    IF NOT FOUND THEN
        PERFORM orisun.find_boundary(p_boundary);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_boundary(text) IS
$$One boundary of orisun.list_boundaries. Raises OR001 when there is none of this name.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_boundary_size(p_boundary text) RETURNS bigint
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT pg_total_relation_size(orisun.find_boundary_table(p_boundary, '_orisun_es_event')) $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_boundary_size(text) IS
$$The bytes on disk of a boundary's event table with its indexes. Raises OR001 for an unknown boundary.$$;

-- +goose Down
DROP FUNCTION orisun.get_boundary_size(text);
DROP FUNCTION orisun.get_boundary(text);
DROP FUNCTION orisun.list_boundaries();
DROP FUNCTION orisun.has_events_table(orisun.boundary);
DROP FUNCTION orisun.find_boundary_function(text, text);
DROP FUNCTION orisun.find_boundary_table(text, text);
DROP FUNCTION orisun.find_boundary(text);
DROP FUNCTION orisun.check_boundary_names(text, text);
DROP FUNCTION orisun.check_name(text, text, integer);
DROP FUNCTION orisun.lock_class();
DROP FUNCTION orisun.refuse_down_while_events_exist();
DROP TABLE orisun.boundary;
