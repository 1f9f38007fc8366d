-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.initialize_boundary_tables(p_boundary text, p_schema text, p_description text DEFAULT '') RETURNS void
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
        UPDATE orisun.boundary b SET description = p_description WHERE b.name = p_boundary AND b.description <> p_description;
        RETURN;
    END IF;
    PERFORM orisun.make_boundary_tables(orisun.register_boundary(p_boundary, p_schema, p_description, false));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.initialize_boundary_tables(text, text, text) IS $$Creates a boundary in a schema, which is created where it is missing. Done again it changes nothing but the description.

  {schema}.{boundary}_orisun_es_event                        the events, like orisun.event
  {schema}.{boundary}_orisun_es_event_global_id_seq          the next global_id
  {schema}.{boundary}_orisun_last_published_event_position   how far the outbox is published
  {schema}.{boundary}_projector_checkpoint                   how far each projector is

Names: letters, digits, _ and -; a boundary's at most 26 bytes, so that no table's name is cut. Raises OR002 for a name, OR006 when the boundary exists
in another schema or the table is somebody else's. It tells the admin boundary nothing: orisun.create_boundary does.

  SELECT orisun.initialize_boundary_tables('orders', 'public');$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
-- +goose StatementBegin
DO $$
DECLARE
    v_boundary record;
BEGIN
    FOR v_boundary IN SELECT b.name, b.schema_name FROM orisun.boundary b WHERE b.status = 'ACTIVE' LOOP
        EXECUTE format('DROP TABLE %I.%I, %I.%I, %I.%I',
                       v_boundary.schema_name, v_boundary.name || '_orisun_es_event',
                       v_boundary.schema_name, v_boundary.name || '_orisun_last_published_event_position',
                       v_boundary.schema_name, v_boundary.name || '_projector_checkpoint');
        EXECUTE format('DROP FUNCTION %I.%I, %I.%I', v_boundary.schema_name, v_boundary.name || '_orisun_save_requests',
                       v_boundary.schema_name, v_boundary.name || '_orisun_save_plain');
    END LOOP;
    DELETE FROM orisun.boundary;
END
$$;
-- +goose StatementEnd
DROP FUNCTION orisun.initialize_boundary_tables(text, text, text);
