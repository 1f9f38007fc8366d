-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.register_boundary(p_boundary text, p_schema text, p_description text, p_existed_before_catalog boolean) RETURNS orisun.boundary
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO orisun.boundary AS b (name, schema_name, description, existed_before_catalog)
    VALUES (p_boundary, p_schema, p_description, p_existed_before_catalog)
    ON CONFLICT (name) DO UPDATE
       SET schema_name = EXCLUDED.schema_name, description = EXCLUDED.description, existed_before_catalog = EXCLUDED.existed_before_catalog,
           created_at = EXCLUDED.created_at, status = EXCLUDED.status, last_error = EXCLUDED.last_error,
           definition_transaction_id = NULL, definition_global_id = NULL, status_transaction_id = NULL, status_global_id = NULL
    RETURNING b.*
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.register_boundary(text, text, text, boolean) IS $$The registry's row of a boundary that is about to get its tables: a new one, or that of a failed attempt. The caller holds
the catalogue's lock, orisun.lock_positions(0).$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.register_boundary(text, text, text, boolean);
