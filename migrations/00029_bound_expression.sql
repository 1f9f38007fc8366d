-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.bound_expression(p_events regclass, p_transaction_id text, p_global_id text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- An event's transaction_id is greater than its global_id. So all events from global_id p_transaction_id on lie at or after the
    -- position, and which of those before it do depends on the one save that ends at, or spans, that place.
    SELECT format($sql$(
        SELECT CASE
            WHEN s.transaction_id IS NULL OR s.transaction_id < %2$s OR (s.transaction_id = %2$s AND %3$s >= %2$s) THEN %2$s
            ELSE greatest(CASE WHEN s.transaction_id = %2$s THEN %3$s END, coalesce((
                SELECT e.global_id + 1 FROM %1$s e WHERE e.global_id < %2$s AND e.transaction_id < s.transaction_id ORDER BY e.global_id DESC LIMIT 1), 0))
            END
          FROM (SELECT (SELECT e.transaction_id FROM %1$s e WHERE e.global_id < %2$s ORDER BY e.global_id DESC LIMIT 1) AS transaction_id) s
        )$sql$, p_events, p_transaction_id, p_global_id)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.bound_expression(regclass, text, text) IS $$The SQL of the smallest global_id from which on all events lie at or after a position, by pairs: the position, two SQL expressions, need
not name a stored event. It reads at most one save.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.bound_expression(regclass, text, text);
