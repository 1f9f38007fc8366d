-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_published_position(p_boundary text) RETURNS SETOF orisun.last_published_event_position
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT p.* FROM %s p WHERE p.boundary = $1',
                                orisun.find_boundary_table(p_boundary, '_orisun_last_published_event_position'))
           USING p_boundary;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_published_position(text) IS $$How far a boundary's events are published: one row, or none before the first one. A publisher looks at it only when
the stream in JetStream is empty: the stream's last message tells better. Raises OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_published_position(text);
