-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lease_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792780 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lease_class() IS
$$The first key of the advisory locks that the publishers of boundaries hold as long as they publish; the second is the
boundary's number. The number spells ORIL in ASCII. Which boundaries are published, and by whom: SELECT b.name, a.* FROM
pg_locks l JOIN orisun.boundary b ON b.number = l.objid::integer JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.classid = orisun.lease_class()::oid AND l.granted$$;

CREATE UNLOGGED TABLE orisun.lease (
    boundary integer NOT NULL,
    name     text    NOT NULL,
    session  integer NOT NULL,
    owner    text    NOT NULL,
    held     boolean NOT NULL,
    PRIMARY KEY (boundary, name, session)
);

CREATE UNIQUE INDEX lease_held_idx ON orisun.lease (boundary, name) WHERE held;

COMMENT ON TABLE orisun.lease IS
$$The leases of projectors and subscriber names: a row for each session that holds one (held) or stands by for it. A
name belongs to its owner, a user, as long as a session that lives has a row of it. session is the pid of a lease
session, which lives as long as it has the advisory lock of orisun.lease_session_class() and that pid: so a node takes
one lock, however many leases it has. A row whose session is dead counts for nothing. Unlogged, as no lease outlives
PostgreSQL. Which names are held, and by which node: SELECT b.name, l.name, a.client_addr FROM orisun.lease l JOIN
orisun.boundary b ON b.number = l.boundary JOIN pg_stat_activity a ON a.pid = l.session
 WHERE l.held$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.lease_session_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792784 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lease_session_class() IS
$$The first key of the advisory lock that shows that a lease session lives; the second is its pid. The number spells
ORIP in ASCII.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.is_lease_session(p_session integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN p_session = pg_backend_pid()
        OR NOT pg_try_advisory_xact_lock_shared(orisun.lease_session_class(), p_session);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.is_lease_session(integer) IS
$$Whether a session that may hold leases (orisun.begin_leases) lives.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.begin_leases() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_lock(orisun.lease_session_class(), pg_backend_pid());
    DELETE FROM orisun.lease l
     WHERE l.session IN (SELECT s.session FROM (SELECT DISTINCT o.session FROM orisun.lease o) s
                          WHERE s.session = pg_backend_pid() OR NOT orisun.is_lease_session(s.session));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.begin_leases() IS
$$Makes this session one that may hold leases, until it ends, and removes what dead sessions left. A session calls it
once, before orisun.try_lease.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.try_lease(
    p_boundary  text,
    p_name      text,
    p_owner     text    DEFAULT '',
    p_any_owner boolean DEFAULT false,
    p_stand_by  boolean DEFAULT false
) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (orisun.find_boundary(p_boundary)).number;
    v_owner  text;
    v_holder integer;
BEGIN
    IF p_name = 'publisher' THEN
        RETURN pg_try_advisory_lock(orisun.lease_class(), v_number);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(p_name, v_number)); -- one session at a time decides about a name
    DELETE FROM orisun.lease l WHERE l.boundary = v_number AND l.name = p_name
       AND NOT orisun.is_lease_session(l.session);
    SELECT max(l.owner), max(l.session) FILTER (WHERE l.held)
      INTO v_owner, v_holder
      FROM orisun.lease l
     WHERE l.boundary = v_number AND l.name = p_name;
    IF v_owner <> p_owner AND NOT p_any_owner THEN
        RAISE EXCEPTION 'the name % of boundary % belongs to another user, as long as it is used', p_name, p_boundary
            USING ERRCODE = 'OR030',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'name', p_name)::text,
                  HINT = 'Choose another name, or stop the subscribers that use it.';
    END IF;
    IF v_holder IS NULL OR p_stand_by THEN
        INSERT INTO orisun.lease AS l (boundary, name, session, owner, held)
        VALUES (v_number, p_name, pg_backend_pid(), coalesce(v_owner, p_owner), v_holder IS NULL)
        ON CONFLICT (boundary, name, session) DO UPDATE SET held = true
         WHERE v_holder IS NULL;
    END IF;
    RETURN v_holder IS NULL;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_lease(text, text, text, boolean, boolean) IS
$$Takes a lease of a boundary for this session, if no session holds it; never waits for it. It ends with
orisun.release_lease or with the session.

  p_name       'publisher' is an advisory lock of the keys orisun.lease_class() and the boundary's number, and has no
               owner; all other names are rows of orisun.lease
  p_owner      the user to whom the name belongs while it is held or stood by; '' is the server itself
  p_any_owner  take a name of another user, too: it remains that user's
  p_stand_by   where the lease is held, keep the name for p_owner until this session takes or releases it

Raises OR001 for an unknown boundary, and OR030 for a name that belongs to another user.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.release_lease(p_boundary text, p_name text, p_stand_by boolean DEFAULT false) RETURNS boolean
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
    IF p_stand_by THEN
        UPDATE orisun.lease l SET held = false WHERE l.boundary = v_number AND l.name = p_name
           AND l.session = pg_backend_pid();
    ELSE
        DELETE FROM orisun.lease l WHERE l.boundary = v_number AND l.name = p_name AND l.session = pg_backend_pid();
    END IF;
    RETURN FOUND;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.release_lease(text, text, boolean) IS
$$Gives up a lease that this session holds or stands by for; with p_stand_by it stands by from now on. False when the
session has no part in it, or the boundary was deleted: its number is never used again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_free_leases() RETURNS TABLE (boundary text, name text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_alive integer[] := ARRAY(SELECT s.session FROM (SELECT DISTINCT l.session FROM orisun.lease l WHERE l.held) s
                                WHERE orisun.is_lease_session(s.session));
BEGIN
    RETURN QUERY
    SELECT b.name, w.name
      FROM orisun.lease w
      JOIN orisun.boundary b ON b.number = w.boundary
     WHERE w.session = pg_backend_pid() AND NOT w.held
       AND NOT EXISTS (SELECT FROM orisun.lease h WHERE h.boundary = w.boundary AND h.name = w.name AND h.held
                          AND h.session = ANY (v_alive));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_free_leases() IS
$$The leases for which this session stands by and which no session holds that lives: orisun.try_lease may get them.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.watch_leases(p_silent text[]) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH other AS (
        SELECT a.pid, concat_ws(' ', a.pid, extract(epoch FROM a.backend_start),
                                extract(epoch FROM a.state_change)) AS mark
          FROM pg_stat_activity a
         WHERE a.application_name = current_setting('application_name') AND a.datname = current_database()
           AND a.pid <> pg_backend_pid()
           AND a.state_change IS NOT NULL AND pg_has_role(a.usesysid, 'USAGE')
    )
    SELECT o.mark FROM other o WHERE CASE WHEN o.mark = ANY (p_silent) THEN NOT pg_terminate_backend(o.pid)
        ELSE true END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.watch_leases(text[]) IS
$$Returns a mark for each other session of this database that has this one's application_name, and ends those whose mark
is among p_silent. A session has a new mark after each statement. So a mark that comes back again and again, while time
passes for the caller, is one of a session whose client sends nothing: the process is stopped, or its machine is frozen.
No clock is compared. Sessions of roles whose privileges the caller does not have are left out, and all are with
track_activities off.$$;

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

COMMENT ON FUNCTION orisun.get_published_position(text) IS
$$How far a boundary's events are published: one row, or none before the first one. A publisher looks at it only when
the stream in JetStream is empty: otherwise the stream's last message is exact. Raises OR001 for an unknown boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.move_published_position(p_boundary text, p_transaction_id bigint, p_global_id bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %s AS p (boundary, transaction_id, global_id)
        VALUES ($1, $2, $3)
        ON CONFLICT (boundary) DO UPDATE
           SET transaction_id = EXCLUDED.transaction_id, global_id = EXCLUDED.global_id,
               date_updated = EXCLUDED.date_updated
        $sql$, orisun.find_boundary_table(p_boundary, '_orisun_last_published_event_position'))
        USING p_boundary, p_transaction_id, p_global_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.move_published_position(text, bigint, bigint) IS
$$Notes how far a boundary's events are published. Publishers call it in the session that holds the lease of 'publisher'
(orisun.try_lease), so that a publisher without the lease cannot. Raises OR001 for an unknown boundary.

To publish a boundary again, from its beginning, stop the servers, delete their NATS store directories and
SELECT orisun.move_published_position('orders', -1, -1)$$;

-- +goose Down
DROP FUNCTION orisun.move_published_position(text, bigint, bigint);
DROP FUNCTION orisun.get_published_position(text);
DROP FUNCTION orisun.watch_leases(text[]);
DROP FUNCTION orisun.find_free_leases();
DROP FUNCTION orisun.release_lease(text, text, boolean);
DROP FUNCTION orisun.try_lease(text, text, text, boolean, boolean);
DROP FUNCTION orisun.begin_leases();
DROP FUNCTION orisun.is_lease_session(integer);
DROP FUNCTION orisun.lease_session_class();
DROP TABLE orisun.lease;
DROP FUNCTION orisun.lease_class();
