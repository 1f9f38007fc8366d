-- +goose Up
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

COMMENT ON FUNCTION orisun.check_boundary_names(text, text) IS $$Raises OR002 when a boundary cannot have this name, so that no table's name is cut, or cannot live in this schema.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.check_boundary_names(text, text);
