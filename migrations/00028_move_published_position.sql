-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.move_published_position(p_boundary text, p_transaction_id bigint, p_global_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %s AS p (boundary, transaction_id, global_id)
        VALUES ($1, $2, $3)
        ON CONFLICT (boundary) DO UPDATE
           SET transaction_id = EXCLUDED.transaction_id, global_id = EXCLUDED.global_id, date_updated = EXCLUDED.date_updated
        $sql$, orisun.find_boundary_table(p_boundary, '_orisun_last_published_event_position'))
        USING p_boundary, p_transaction_id, p_global_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.move_published_position(text, bigint, bigint) IS $$Notes how far a boundary's events are published. Publishers call it in the session that holds the lease of 'publisher' (orisun.try_lease), so that
who lost it cannot. Raises OR001 for an unknown boundary.

To publish a boundary anew, from its beginning, stop the servers, delete their NATS store directories and
SELECT orisun.move_published_position('orders', -1, -1)$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.move_published_position(text, bigint, bigint);
