-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.refuse_down_while_events_exist() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary record;
    v_found    boolean;
BEGIN
    FOR v_boundary IN SELECT b.name, b.schema_name FROM orisun.boundary b WHERE b.status = 'ACTIVE' ORDER BY b.name LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', v_boundary.schema_name, v_boundary.name || '_orisun_es_event') INTO v_found;
        IF v_found THEN
            RAISE EXCEPTION 'boundary "%" holds events', v_boundary.name
                USING ERRCODE = 'OR008',
                      HINT = 'Migrations go down on an empty store only. Restore a backup into a new database instead.';
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.refuse_down_while_events_exist() IS $$Raises OR008 while any boundary holds an event: every migration calls it before it goes down.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.refuse_down_while_events_exist();
