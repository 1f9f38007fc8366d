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

-- +goose StatementBegin
CREATE FUNCTION orisun.lock_positions_on_insert() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    v_last   bigint;
BEGIN
    PERFORM orisun.lock_positions(TG_ARGV[0]::integer);
    EXECUTE format('SELECT max(e.global_id) FROM %s e', v_events) INTO v_last;
    PERFORM setval(pg_get_serial_sequence(v_events, 'global_id'), coalesce(v_last, 0), v_last IS NOT NULL);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_positions_on_insert() IS $$The statement trigger of every event table: an INSERT by hand, too, draws its positions under the boundary's lock. Its rows take them
from the sequence, which is set to where the table ends: saves go by the table alone.$$;

CREATE TABLE orisun.event_position (
    transaction_id bigint NOT NULL,
    global_id      bigint NOT NULL
);

COMMENT ON TABLE orisun.event_position IS $$The shape of what orisun.get_last_position returns: the position of an event. It holds no rows.$$;

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
DROP FUNCTION orisun.get_last_position(text);
DROP TABLE orisun.event_position;
DROP FUNCTION orisun.lock_positions_on_insert();
DROP FUNCTION orisun.lock_positions(integer);
