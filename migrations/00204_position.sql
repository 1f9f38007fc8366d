-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_positions(p_number integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A snapshot taken before the lock does not see the save that held it last: positions would be drawn twice and a
    -- changed context overlooked. Only READ COMMITTED takes a new one for every statement.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'events are saved under READ COMMITTED, not under %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'OR005',
                  HINT = 'Begin the transaction with ISOLATION LEVEL READ COMMITTED.';
    END IF;
    PERFORM pg_advisory_xact_lock(orisun.lock_class(), p_number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_positions(integer) IS
$$Holds the boundary's lock until the transaction ends, so that positions are drawn in the order of commits and a reader
never sees a position before all smaller ones. Raises OR005 outside READ COMMITTED.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.draw_position(p_number integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary  record;
    v_global_id bigint;
BEGIN
    SELECT b.schema_name, b.name INTO v_boundary FROM orisun.boundary b
     WHERE b.number = p_number AND b.status = 'ACTIVE';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no boundary has the number %, so the row has no position', p_number
            USING ERRCODE = 'OR001',
                  HINT = 'The table was a boundary''s once: adopt it with orisun.create_boundary '
                         '(existed_before_catalog).';
    END IF;
    PERFORM orisun.lock_positions(p_number);
    -- A volatile function sees the rows that the INSERT which calls it has stored so far.
    EXECUTE format('SELECT coalesce((SELECT e.global_id + 1 FROM %I.%I e ORDER BY e.global_id DESC LIMIT 1), 0)',
                   v_boundary.schema_name, v_boundary.name || '_orisun_es_event') INTO v_global_id;
    RETURN setval(format('%I.%I', v_boundary.schema_name, v_boundary.name || '_orisun_es_event_global_id_seq'),
                  v_global_id);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.draw_position(integer) IS
$$The default of every event table's global_id: a row inserted by hand gets the next position, under the boundary's
lock. Positions come from the table, as those of saves do, so rollbacks and rows that ON CONFLICT skips leave no gap.
The sequence only carries the position to the default of transaction_id. Saves give positions themselves and never call
it. Raises OR005 outside READ COMMITTED.$$;

CREATE TABLE orisun.event_position (
    transaction_id bigint NOT NULL,
    global_id      bigint NOT NULL
);

COMMENT ON TABLE orisun.event_position IS
$$The shape of what orisun.get_last_position returns: the position of an event. It holds no rows.$$;

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

COMMENT ON FUNCTION orisun.get_last_position(text) IS
$$The position of a boundary's last event, (-1,-1) when it has none: always one row. Raises OR001 for an unknown
boundary. A reader that sees it sees all events before it as well.$$;

-- +goose Down
DROP FUNCTION orisun.get_last_position(text);
DROP TABLE orisun.event_position;
DROP FUNCTION orisun.draw_position(integer);
DROP FUNCTION orisun.lock_positions(integer);
