-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.check_positions(p_events regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_global_id bigint;
BEGIN
    EXECUTE format($sql$
        SELECT e.global_id
          FROM (SELECT e.global_id, e.transaction_id, lead(e.transaction_id) OVER (ORDER BY e.global_id) AS next FROM %s e) e
         WHERE e.global_id < 0 OR e.transaction_id <> e.global_id + 1 AND e.transaction_id IS DISTINCT FROM e.next
         LIMIT 1
        $sql$, p_events) INTO v_global_id;
    IF v_global_id IS NOT NULL THEN
        RAISE EXCEPTION 'in table %, the event with global_id % is out of order', p_events, v_global_id
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('table', p_events, 'global_id', v_global_id)::text,
                  HINT = 'Number the events anew: all events of one save have the global_id of its last event plus one as their transaction_id.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_positions(regclass) IS $$Raises OR006 unless each transaction_id is the global_id of the save's last event plus one, so that global_id alone
orders the events and those to come lie after them. It reads the whole table.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.check_positions(regclass);
