-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.check_shape(p_table regclass, p_shape regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_columns text[];  -- of the table, then of the shape
    v_missing text[];
BEGIN
    SELECT array_agg(c.columns ORDER BY c.ordinal) INTO v_columns
      FROM (SELECT r.ordinal,
                   string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                                     CASE WHEN a.attnotnull THEN ' NOT NULL' END),
                                         ', ' ORDER BY a.attnum) AS columns
              FROM unnest(ARRAY[p_table, p_shape]) WITH ORDINALITY AS r(relation, ordinal)
              JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum > 0 AND NOT a.attisdropped
             GROUP BY r.ordinal) c;
    SELECT array_agg(m.definition) INTO v_missing
      FROM (SELECT pg_get_constraintdef(c.oid) AS definition FROM pg_constraint c WHERE c.conrelid = p_shape
               AND c.contype IN ('p', 'u', 'c')
            EXCEPT
            SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE c.conrelid = p_table AND c.convalidated) m;
    IF v_columns[1] IS DISTINCT FROM v_columns[2] OR v_missing IS NOT NULL THEN
        RAISE EXCEPTION 'table % has another shape than %', p_table, p_shape
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('table', p_table, 'columns', v_columns[1], 'missing', v_missing)::text,
                  HINT = format('Give it the columns (%s)%s.', v_columns[2],
                                coalesce(' and ' || array_to_string(v_missing, ', '), ''));
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_shape(regclass, regclass) IS
$$Raises OR006 unless a table has the columns of a shape table, in its order, and at least its keys and checks.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.check_positions(p_events regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_global_id bigint;
BEGIN
    EXECUTE format($sql$
        SELECT e.global_id
          FROM (SELECT e.global_id, e.transaction_id, lead(e.transaction_id) OVER (ORDER BY e.global_id) AS next
                  FROM %s e) e
         WHERE e.global_id < 0 OR e.transaction_id <> e.global_id + 1 AND e.transaction_id IS DISTINCT FROM e.next
         LIMIT 1
        $sql$, p_events) INTO v_global_id;
    IF v_global_id IS NOT NULL THEN
        RAISE EXCEPTION 'in table %, the event with global_id % is out of order', p_events, v_global_id
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('table', p_events, 'global_id', v_global_id)::text,
                  HINT = 'Number the events again: all events of one save have the global_id of its last event plus '
                         'one as their transaction_id.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_positions(regclass) IS
$$Raises OR006 unless each transaction_id is the global_id of the save's last event plus one, so that global_id alone
orders the events and those to come lie after them. It reads the whole table.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.register_boundary(p_boundary text, p_schema text, p_description text,
                                         p_existed_before_catalog boolean) RETURNS orisun.boundary
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO orisun.boundary AS b (name, schema_name, description, existed_before_catalog)
    VALUES (p_boundary, p_schema, p_description, p_existed_before_catalog)
    ON CONFLICT (name) DO UPDATE
       SET schema_name = EXCLUDED.schema_name, description = EXCLUDED.description,
           existed_before_catalog = EXCLUDED.existed_before_catalog,
           created_at = EXCLUDED.created_at, status = EXCLUDED.status, last_error = EXCLUDED.last_error,
           definition_transaction_id = NULL, definition_global_id = NULL, status_transaction_id = NULL,
           status_global_id = NULL
    RETURNING b.*
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.register_boundary(text, text, text, boolean) IS
$$The registry's row of a boundary that is about to get its tables: a new one, or that of a failed attempt. The caller
holds the catalogue's lock, orisun.lock_positions(0).$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.make_boundary_tables(p_boundary orisun.boundary) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events      text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_orisun_es_event');
    v_sequence    text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_orisun_es_event_global_id_seq');
    v_published   text := format('%I.%I', p_boundary.schema_name,
                                 p_boundary.name || '_orisun_last_published_event_position');
    v_checkpoints text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_projector_checkpoint');
    v_adopt       boolean := p_boundary.existed_before_catalog;
    v_create      text := CASE WHEN v_adopt THEN 'IF NOT EXISTS' ELSE '' END;
BEGIN
    IF v_adopt AND to_regclass(v_events) IS NULL THEN
        RAISE EXCEPTION 'table % does not exist', v_events
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary.name, 'schema', p_boundary.schema_name)::text,
                  HINT = 'Only tables that are there can be adopted: check name and schema, or create the boundary '
                         'without existing tables.';
    ELSIF NOT v_adopt AND to_regclass(v_events) IS NOT NULL THEN
        RAISE EXCEPTION 'table % exists already and is not known as a boundary''s', v_events
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary.name, 'schema', p_boundary.schema_name)::text,
                  HINT = 'Choose another name or schema for the boundary, move that table away, or adopt it '
                         '(existed_before_catalog).';
    END IF;
    IF to_regnamespace(quote_ident(p_boundary.schema_name)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', p_boundary.schema_name);
    END IF;

    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.event INCLUDING ALL)', v_create, v_events);
    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.last_published_event_position INCLUDING ALL)', v_create,
                   v_published);
    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.projector_checkpoint INCLUDING ALL)', v_create, v_checkpoints);
    PERFORM orisun.check_shape(v_events::regclass, 'orisun.event');
    PERFORM orisun.check_shape(v_published::regclass, 'orisun.last_published_event_position');
    PERFORM orisun.check_shape(v_checkpoints::regclass, 'orisun.projector_checkpoint');

    EXECUTE format('CREATE SEQUENCE %s %s AS bigint MINVALUE 0 START 0', v_create, v_sequence);
    EXECUTE format('ALTER SEQUENCE %s AS bigint MINVALUE 0 START 0 OWNED BY %s.global_id', v_sequence, v_events);
    -- For rows inserted by hand, each a save of its own: defaults are computed in the order of the columns, global_id
    -- first. An adopted table may come from another database, where the boundary had another number.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN global_id SET DEFAULT orisun.draw_position(%s), ALTER COLUMN '
                   'transaction_id SET DEFAULT currval(%L) + 1',
                   v_events, p_boundary.number, v_sequence);
    EXECUTE format('COMMENT ON TABLE %s IS %L', v_events,
                   format('The events of boundary %s. Save with orisun.insert_events_with_consistency, read with '
                          'orisun.get_matching_events.', p_boundary.name));
    PERFORM orisun.clone_functions(p_boundary.name);
    IF v_adopt THEN
        PERFORM orisun.check_positions(v_events::regclass);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.make_boundary_tables(orisun.boundary) IS
$$Makes the tables of a boundary that was just registered, and the schema where it is missing; or takes over the tables
that are there, where existed_before_catalog says so: their shape and positions must be those of a boundary. No session
writes to them meanwhile. Raises OR006.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.drop_boundary_tables(p_boundary orisun.boundary) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_function regprocedure;
BEGIN
    -- The checkpoints before the events: orisun.list_subscription_partitions locks them in this order.
    EXECUTE format('DROP TABLE IF EXISTS %1$I.%2$I, %1$I.%3$I, %1$I.%4$I', p_boundary.schema_name,
                   p_boundary.name || '_projector_checkpoint',
                   p_boundary.name || '_orisun_last_published_event_position',
                   p_boundary.name || '_orisun_es_event');
    -- Another boundary's name may begin with this one's.
    FOR v_function IN
        SELECT p.oid::regprocedure
          FROM pg_proc p
          JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = p_boundary.schema_name AND starts_with(p.proname, p_boundary.name || '_orisun_')
           AND NOT EXISTS (SELECT FROM orisun.boundary o
                            WHERE o.schema_name = p_boundary.schema_name AND length(o.name) > length(p_boundary.name)
                              AND starts_with(p.proname, o.name || '_orisun_'))
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
    DELETE FROM orisun.boundary_index i WHERE i.boundary = p_boundary.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.drop_boundary_tables(orisun.boundary) IS
$$Drops a boundary's tables, with all events, and its functions and indexes, as far as they are there. Its row in the
registry stays.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.initialize_boundary_tables(p_boundary text, p_schema text, p_description text DEFAULT '')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary orisun.boundary;
BEGIN
    PERFORM orisun.check_boundary_names(p_boundary, p_schema);
    PERFORM orisun.lock_positions(0);

    SELECT b.* INTO v_boundary FROM orisun.boundary b WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF v_boundary.schema_name <> p_schema THEN
        RAISE EXCEPTION 'boundary "%" lives in schema "%", not in "%"', p_boundary, v_boundary.schema_name, p_schema
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'schema', v_boundary.schema_name)::text,
                  HINT = 'A boundary does not move: configure the schema that it was created in.';
    END IF;
    IF v_boundary.number IS NOT NULL THEN
        UPDATE orisun.boundary b SET description = p_description
         WHERE b.name = p_boundary AND b.description <> p_description;
        RETURN;
    END IF;
    PERFORM orisun.make_boundary_tables(orisun.register_boundary(p_boundary, p_schema, p_description, false));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.initialize_boundary_tables(text, text, text) IS
$$Creates a boundary in a schema, which is created where it is missing. Done again it changes nothing but the
description.

  {schema}.{boundary}_orisun_es_event                        the events, like orisun.event
  {schema}.{boundary}_orisun_es_event_global_id_seq          the next global_id
  {schema}.{boundary}_orisun_last_published_event_position   how far the outbox is published
  {schema}.{boundary}_projector_checkpoint                   how far each projector is

Names: letters, digits, _ and -; a boundary's at most 26 bytes, so that no table's name is cut. Raises OR002 for a name,
OR006 when the boundary exists in another schema or the table is another application's. It saves no event in the admin
boundary: orisun.create_boundary does.

  SELECT orisun.initialize_boundary_tables('orders', 'public');$$;

CREATE FUNCTION orisun.make_admin_event(p_type text, p_data jsonb, p_actor text) RETURNS jsonb
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('event_id', gen_random_uuid(), 'event_type', p_type, 'data', p_data,
                              'metadata', jsonb_build_object('actor', p_actor))
$$;

COMMENT ON FUNCTION orisun.make_admin_event(text, jsonb, text) IS
$$An event for the admin boundary, as orisun.insert_events_with_consistency takes it: what was done, and by whom.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.create_boundary(
    p_boundary text, p_schema text, p_description text, p_existed_before_catalog boolean, p_admin_boundary text,
    p_actor text
) RETURNS SETOF orisun.boundary
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary orisun.boundary;
    v_error    text := '';
    v_hint     text;
    v_saved    record;
BEGIN
    PERFORM orisun.check_boundary_names(p_boundary, p_schema);
    PERFORM orisun.lock_positions(0);

    SELECT b.* INTO v_boundary FROM orisun.boundary b WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF v_boundary.name IS NOT NULL AND NOT orisun.has_events_table(v_boundary) THEN
        PERFORM orisun.drop_boundary_tables(v_boundary); -- what is left of it
        v_boundary := NULL;
    END IF;
    IF (v_boundary.schema_name, v_boundary.description, v_boundary.existed_before_catalog)
        = (p_schema, p_description, p_existed_before_catalog) THEN
        RETURN NEXT v_boundary;
        RETURN;
    ELSIF v_boundary.name IS NOT NULL THEN
        RAISE EXCEPTION 'boundary "%" exists already with another definition: schema "%", description %, '
                        'existed_before_catalog %',
                        p_boundary, v_boundary.schema_name, quote_literal(v_boundary.description),
                        v_boundary.existed_before_catalog
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'schema', v_boundary.schema_name)::text,
                  HINT = 'A boundary does not change: choose another name.';
    END IF;

    v_boundary := orisun.register_boundary(p_boundary, p_schema, p_description, p_existed_before_catalog);
    BEGIN
        PERFORM orisun.make_boundary_tables(v_boundary);
    EXCEPTION WHEN OTHERS THEN
        -- What time heals is no property of the boundary.
        IF SQLSTATE ~ '^(08|40|53|55|57|58|XX)' THEN
            RAISE;
        END IF;
        GET STACKED DIAGNOSTICS v_error = MESSAGE_TEXT, v_hint = PG_EXCEPTION_HINT;
        v_error := concat_ws('. ', v_error, nullif(v_hint, ''));
    END;

    SELECT r.* INTO STRICT v_saved
      FROM orisun.insert_events_with_consistency(p_admin_boundary, '{}', jsonb_build_array(
               orisun.make_admin_event('BoundaryDefined', jsonb_build_object(
                   'boundary', p_boundary, 'description', p_description,
                   'existed_before_catalog', p_existed_before_catalog,
                   'placement', jsonb_build_object('backend', 'postgres', 'namespace', p_schema)), p_actor),
               CASE v_error
                   WHEN '' THEN orisun.make_admin_event('BoundaryActivated',
                                                        jsonb_build_object('boundary', p_boundary), p_actor)
                   ELSE orisun.make_admin_event('BoundaryFailed',
                                                jsonb_build_object('boundary', p_boundary, 'error', v_error), p_actor)
               END)) r;
    RETURN QUERY
    UPDATE orisun.boundary b
       SET status = CASE v_error WHEN '' THEN 'ACTIVE' ELSE 'FAILED' END, last_error = v_error,
           definition_transaction_id = v_saved.transaction_id, definition_global_id = v_saved.global_id - 1,
           status_transaction_id = v_saved.transaction_id, status_global_id = v_saved.global_id
     WHERE b.name = p_boundary
    RETURNING b.*;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_boundary(text, text, text, boolean, text, text) IS
$$Creates a boundary, with its schema where that is missing, and saves events with the actor in the admin boundary, all
in one transaction: BoundaryDefined, then BoundaryActivated or BoundaryFailed. With p_existed_before_catalog it takes
over the tables that are there.

The same definition again changes nothing and answers the boundary that there is. Where its table was dropped by hand,
it is created again, empty. A boundary that could not be provisioned is FAILED, with last_error: it may be created
again, with this definition or another one. What time heals (locks, disk space, a lost connection) is raised and leaves
nothing.

Raises OR002 for a name, OR006 for a boundary that exists with another definition, OR001 for an unknown admin boundary.

  SELECT * FROM orisun.create_boundary('orders', 'sales', 'Orders of the shop', false, 'orisun_admin', current_user);$$;

-- +goose Down
DROP FUNCTION orisun.create_boundary(text, text, text, boolean, text, text);
DROP FUNCTION orisun.make_admin_event(text, jsonb, text);
-- +goose StatementBegin
DO $$
DECLARE
    v_boundary orisun.boundary;
BEGIN
    FOR v_boundary IN SELECT b.* FROM orisun.boundary b WHERE b.status = 'ACTIVE' LOOP
        PERFORM orisun.drop_boundary_tables(v_boundary);
    END LOOP;
    DELETE FROM orisun.boundary;
END
$$;
-- +goose StatementEnd
DROP FUNCTION orisun.initialize_boundary_tables(text, text, text);
DROP FUNCTION orisun.drop_boundary_tables(orisun.boundary);
DROP FUNCTION orisun.make_boundary_tables(orisun.boundary);
DROP FUNCTION orisun.register_boundary(text, text, text, boolean);
DROP FUNCTION orisun.check_positions(regclass);
DROP FUNCTION orisun.check_shape(regclass, regclass);
