-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_boundary(p_boundary text, OUT number integer, OUT events regclass)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT b.number,
           format('%I.%I', b.schema_name, b.name || '_orisun_es_event')::regclass
      INTO find_boundary.number, find_boundary.events
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

COMMENT ON FUNCTION orisun.find_boundary(text) IS $$The only door from a boundary's name to its table. Raises OR001 when there is no such boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_boundary(text);
