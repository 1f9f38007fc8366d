-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.make_boundary_tables(p_boundary orisun.boundary) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events      text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_orisun_es_event');
    v_sequence    text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_orisun_es_event_global_id_seq');
    v_published   text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_orisun_last_published_event_position');
    v_checkpoints text := format('%I.%I', p_boundary.schema_name, p_boundary.name || '_projector_checkpoint');
    v_adopt       boolean := p_boundary.existed_before_catalog;
    v_create      text := CASE WHEN v_adopt THEN 'IF NOT EXISTS' ELSE '' END;
    v_last        bigint;
BEGIN
    IF v_adopt AND to_regclass(v_events) IS NULL THEN
        RAISE EXCEPTION 'table % does not exist', v_events
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary.name, 'schema', p_boundary.schema_name)::text,
                  HINT = 'Only tables that are there can be adopted: check name and schema, or create the boundary anew.';
    ELSIF NOT v_adopt AND to_regclass(v_events) IS NOT NULL THEN
        RAISE EXCEPTION 'table % exists already and is not known as a boundary''s', v_events
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary.name, 'schema', p_boundary.schema_name)::text,
                  HINT = 'Choose another name or schema for the boundary, move that table away, or adopt it (existed_before_catalog).';
    END IF;
    IF to_regnamespace(quote_ident(p_boundary.schema_name)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', p_boundary.schema_name);
    END IF;

    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.event INCLUDING ALL)', v_create, v_events);
    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.last_published_event_position INCLUDING ALL)', v_create, v_published);
    EXECUTE format('CREATE TABLE %s %s (LIKE orisun.projector_checkpoint INCLUDING ALL)', v_create, v_checkpoints);
    PERFORM orisun.check_shape(v_events::regclass, 'orisun.event');
    PERFORM orisun.check_shape(v_published::regclass, 'orisun.last_published_event_position');
    PERFORM orisun.check_shape(v_checkpoints::regclass, 'orisun.projector_checkpoint');

    EXECUTE format('CREATE SEQUENCE %s %s AS bigint MINVALUE 0 START 0', v_create, v_sequence);
    EXECUTE format('ALTER SEQUENCE %s AS bigint MINVALUE 0 START 0 OWNED BY %s.global_id', v_sequence, v_events);
    -- For rows inserted by hand, each a save of its own: defaults are computed in the order of the columns, global_id first.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN global_id SET DEFAULT nextval(%L), ALTER COLUMN transaction_id SET DEFAULT currval(%L) + 1',
                   v_events, v_sequence, v_sequence);
    -- An adopted table may come from another database, where the boundary had another number.
    IF v_adopt THEN
        EXECUTE format('DROP TRIGGER IF EXISTS lock_positions ON %s', v_events);
    END IF;
    EXECUTE format('CREATE TRIGGER lock_positions BEFORE INSERT ON %s FOR EACH STATEMENT '
                   'WHEN (current_setting(''orisun.locked_boundary'', true) IS DISTINCT FROM %L) EXECUTE FUNCTION orisun.lock_positions_on_insert(%s)',
                   v_events, p_boundary.number, p_boundary.number);
    EXECUTE format('COMMENT ON TABLE %s IS %L', v_events,
                   format('The events of boundary %s. Save with orisun.insert_events_with_consistency, ask with orisun.get_matching_events.', p_boundary.name));
    EXECUTE orisun.compose_saving(p_boundary.name);
    EXECUTE orisun.compose_plain_saving(p_boundary.name);
    IF v_adopt THEN
        PERFORM orisun.check_positions(v_events::regclass);
        EXECUTE format('SELECT max(e.global_id) FROM %s e', v_events) INTO v_last;
        PERFORM setval(v_sequence::regclass, coalesce(v_last, 0), v_last IS NOT NULL);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.make_boundary_tables(orisun.boundary) IS $$Makes the tables of a boundary that was just registered, and the schema where it is missing; or takes over the tables that are
there, where existed_before_catalog says so: their shape and positions must be those of a boundary. Nobody writes to them meanwhile. Raises OR006.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.make_boundary_tables(orisun.boundary);
