-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.position_bound(p_events regclass, p_transaction_id bigint, p_global_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_transaction_id bigint;
    v_start          bigint;
BEGIN
    -- An event's transaction_id is greater than its global_id. So all events from global_id p_transaction_id on lie at or after the
    -- position, and which of those before it do depends on the one save that ends at, or spans, that place.
    EXECUTE format('SELECT e.transaction_id FROM %s e WHERE e.global_id < $1 ORDER BY e.global_id DESC LIMIT 1', p_events)
       INTO v_transaction_id USING p_transaction_id;
    IF v_transaction_id IS NULL OR v_transaction_id < p_transaction_id
       OR (v_transaction_id = p_transaction_id AND p_global_id >= p_transaction_id) THEN
        RETURN p_transaction_id;
    END IF;
    EXECUTE format('SELECT e.global_id + 1 FROM %s e WHERE e.global_id < $1 AND e.transaction_id < $2 ORDER BY e.global_id DESC LIMIT 1', p_events)
       INTO v_start USING p_transaction_id, v_transaction_id;
    RETURN CASE WHEN v_transaction_id = p_transaction_id THEN greatest(p_global_id, coalesce(v_start, 0)) ELSE coalesce(v_start, 0) END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.position_bound(regclass, bigint, bigint) IS $$The smallest global_id from which on all events lie at or after a position, by pairs: the position need not name a stored
event. It reads at most one save.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.position_bound(regclass, bigint, bigint);
