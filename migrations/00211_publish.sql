-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lease_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792780 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lease_class() IS $$The first key of the advisory locks that the publishers of boundaries hold as long as they publish; the second is the boundary's number.
The number spells ORIL in ASCII. Which boundaries are published, and by whom:
SELECT b.name, a.* FROM pg_locks l JOIN orisun.boundary b ON b.number = l.objid::integer JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.classid = orisun.lease_class()::oid AND l.granted$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.try_lease(p_boundary text, p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (orisun.find_boundary(p_boundary)).number;
BEGIN
    IF p_name = 'publisher' THEN
        RETURN pg_try_advisory_lock(orisun.lease_class(), v_number);
    END IF;
    RETURN pg_try_advisory_lock(hashtextextended(p_name, v_number));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_lease(text, text) IS $$Takes a lease of a boundary for this session, if nobody else holds it; never waits. It ends with orisun.release_lease or with the session.
A lease is a session advisory lock. That of the name 'publisher' has two keys, orisun.lease_class() and the boundary's number; that of any
other name has one: hashtextextended(name, number). Taken twice by one session it is to be released twice. Raises OR001 for an unknown boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.release_lease(p_boundary text, p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (SELECT b.number FROM orisun.boundary b WHERE b.name = p_boundary);
BEGIN
    IF v_number IS NULL THEN
        RETURN false;
    ELSIF p_name = 'publisher' THEN
        RETURN pg_advisory_unlock(orisun.lease_class(), v_number);
    END IF;
    RETURN pg_advisory_unlock(hashtextextended(p_name, v_number));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.release_lease(text, text) IS $$Gives up a lease that orisun.try_lease gave to this session. False, and a warning, when the session does not hold it. False as well when the boundary
was deleted: its number is never used again, so the lock, which lasts as long as the session, keeps nothing from others.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.watch_leases(p_silent text[]) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH other AS (
        SELECT a.pid, concat_ws(' ', a.pid, extract(epoch FROM a.backend_start), extract(epoch FROM a.state_change)) AS mark
          FROM pg_stat_activity a
         WHERE a.application_name = current_setting('application_name') AND a.datname = current_database() AND a.pid <> pg_backend_pid()
           AND a.state_change IS NOT NULL AND pg_has_role(a.usesysid, 'USAGE')
    )
    SELECT o.mark FROM other o WHERE CASE WHEN o.mark = ANY (p_silent) THEN NOT pg_terminate_backend(o.pid) ELSE true END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.watch_leases(text[]) IS $$Returns a mark for each other session of this database that has this one's application_name, and ends those whose mark is among p_silent.
A session has a new mark after each statement. So a mark that comes back again and again, while time passes for the caller, is one of a session whose client sends nothing: the process is
stopped, or its machine is frozen. No clock is compared. Sessions of roles whose privileges the caller does not have are left out, and all are with track_activities off.$$;

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
DROP FUNCTION orisun.move_published_position(text, bigint, bigint);
DROP FUNCTION orisun.get_published_position(text);
DROP FUNCTION orisun.watch_leases(text[]);
DROP FUNCTION orisun.release_lease(text, text);
DROP FUNCTION orisun.try_lease(text, text);
DROP FUNCTION orisun.lease_class();
