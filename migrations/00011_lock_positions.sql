-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_positions(p_number integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A snapshot taken before the lock does not see the save that held it last: positions would be drawn twice and a changed
    -- context overlooked. Only READ COMMITTED takes a new one for every statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'events are saved under READ COMMITTED, not under %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'OR005',
                  HINT = 'Begin the transaction with ISOLATION LEVEL READ COMMITTED.';
    END IF;
    PERFORM pg_advisory_xact_lock(orisun.lock_class(), p_number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_positions(integer) IS $$Holds the boundary's lock until the transaction ends, so that positions are drawn in the order of commits and a
reader never sees a position before all smaller ones. Raises OR005 outside READ COMMITTED.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lock_positions(integer);
