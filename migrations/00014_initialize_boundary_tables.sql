-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.initialize_boundary_tables(p_boundary text, p_schema text, p_description text DEFAULT '') RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number   integer;
    v_schema   text;
    v_events   text := format('%I.%I', p_schema, p_boundary || '_orisun_es_event');
    v_sequence text := format('%I.%I', p_schema, p_boundary || '_orisun_es_event_global_id_seq');
BEGIN
    -- 37 bytes go to the longest suffix, _orisun_last_published_event_position.
    PERFORM orisun.check_name('boundary', p_boundary, 63 - 37);
    PERFORM orisun.check_name('schema', p_schema, 63);
    PERFORM orisun.lock_positions(0);

    SELECT b.number, b.schema_name INTO v_number, v_schema FROM orisun.boundary b WHERE b.name = p_boundary;
    IF v_schema <> p_schema THEN
        RAISE EXCEPTION 'boundary "%" lives in schema "%", not in "%"', p_boundary, v_schema, p_schema
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'schema', v_schema)::text,
                  HINT = 'A boundary does not move: configure the schema that it was created in.';
    END IF;
    IF v_number IS NOT NULL THEN
        UPDATE orisun.boundary b SET description = p_description WHERE b.name = p_boundary AND b.description <> p_description;
        RETURN;
    END IF;

    INSERT INTO orisun.boundary (name, schema_name, description)
    VALUES (p_boundary, p_schema, p_description)
    RETURNING number INTO v_number;

    IF to_regnamespace(quote_ident(p_schema)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', p_schema);
    END IF;
    IF to_regclass(v_events) IS NOT NULL THEN
        RAISE EXCEPTION 'table % exists already and is not known as a boundary''s', v_events
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'schema', p_schema)::text,
                  HINT = 'Choose another name or schema for the boundary, or move that table away.';
    END IF;

    EXECUTE format('CREATE TABLE %s (LIKE orisun.event INCLUDING ALL)', v_events);
    EXECUTE format('CREATE SEQUENCE %s AS bigint MINVALUE 0 START 0 OWNED BY %s.global_id', v_sequence, v_events);
    -- For rows inserted by hand, each a save of its own: defaults are computed in the order of the columns, global_id first.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN global_id SET DEFAULT nextval(%L), ALTER COLUMN transaction_id SET DEFAULT currval(%L) + 1',
                   v_events, v_sequence, v_sequence);
    EXECUTE format('CREATE TRIGGER lock_positions BEFORE INSERT ON %s FOR EACH STATEMENT '
                   'WHEN (current_setting(''orisun.locked_boundary'', true) IS DISTINCT FROM %L) EXECUTE FUNCTION orisun.lock_positions_on_insert(%s)',
                   v_events, v_number, v_number);
    EXECUTE format('COMMENT ON TABLE %s IS %L', v_events,
                   format('The events of boundary %s. Save with orisun.insert_events_with_consistency, ask with orisun.get_matching_events.', p_boundary));
    EXECUTE format('CREATE TABLE %I.%I (LIKE orisun.last_published_event_position INCLUDING ALL)',
                   p_schema, p_boundary || '_orisun_last_published_event_position');
    EXECUTE format('CREATE TABLE %I.%I (LIKE orisun.projector_checkpoint INCLUDING ALL)',
                   p_schema, p_boundary || '_projector_checkpoint');
    EXECUTE orisun.compose_saving(p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.initialize_boundary_tables(text, text, text) IS $$Creates a boundary in a schema, which is created where it is missing. Done again it changes nothing but the description.

  {schema}.{boundary}_orisun_es_event                        the events, like orisun.event
  {schema}.{boundary}_orisun_es_event_global_id_seq          the next global_id
  {schema}.{boundary}_orisun_last_published_event_position   how far the outbox is published
  {schema}.{boundary}_projector_checkpoint                   how far each projector is

Names: letters, digits, _ and -; a boundary's at most 26 bytes, so that no table's name is cut. Raises OR002 for a name, OR006 when the boundary exists
in another schema or the table is somebody else's.

  SELECT orisun.initialize_boundary_tables('orders', 'public');$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
-- +goose StatementBegin
DO $$
DECLARE
    v_boundary record;
BEGIN
    FOR v_boundary IN SELECT b.name, b.schema_name FROM orisun.boundary b LOOP
        EXECUTE format('DROP TABLE %I.%I, %I.%I, %I.%I',
                       v_boundary.schema_name, v_boundary.name || '_orisun_es_event',
                       v_boundary.schema_name, v_boundary.name || '_orisun_last_published_event_position',
                       v_boundary.schema_name, v_boundary.name || '_projector_checkpoint');
        EXECUTE format('DROP FUNCTION %I.%I', v_boundary.schema_name, v_boundary.name || '_orisun_save_requests');
    END LOOP;
    DELETE FROM orisun.boundary;
END
$$;
-- +goose StatementEnd
DROP FUNCTION orisun.initialize_boundary_tables(text, text, text);
