-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_last_position(p_boundary text) RETURNS SETOF orisun.event_position
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT e.transaction_id, e.global_id FROM %s e ORDER BY e.global_id DESC LIMIT 1',
                                (orisun.find_boundary(p_boundary)).events);
    IF NOT FOUND THEN
        RETURN QUERY SELECT -1::bigint, -1::bigint;
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_last_position(text) IS $$The position of a boundary's last event, (-1,-1) when it has none: always one row. Raises OR001 for an unknown boundary.
Whoever sees it sees all events before it as well.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_last_position(text);
