-- +goose Up
CREATE TABLE orisun.user_account (
    boundary   text        NOT NULL,
    user_id    text        NOT NULL,
    username   text        NOT NULL,
    name       text        NOT NULL,
    roles      text[]      NOT NULL,
    epoch      bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (boundary, user_id)
);

CREATE INDEX user_account_username_idx ON orisun.user_account (boundary, username) WHERE NOT deleted;

COMMENT ON TABLE orisun.user_account IS
$$The users that may call: what orisun.project_users makes of the events UserCreated, UserPasswordChanged,
UserSessionsEnded, UserRolesChanged and UserDeleted of the admin boundary. It can be deleted and is then made of them
again. That a username is unique among the users that are not deleted is no constraint of this table but the context
under which orisun.create_user saves.$$;
COMMENT ON COLUMN orisun.user_account.boundary IS
$$The admin boundary whose events these are (ORISUN_ADMIN_BOUNDARY).$$;
COMMENT ON COLUMN orisun.user_account.epoch IS
$$The global_id of the event that last changed password or roles, or ended all sessions. Tokens carry it, so that those
from before that event are void.$$;

CREATE TABLE orisun.user_credential (
    boundary      text NOT NULL,
    user_id       text NOT NULL,
    password_hash text NOT NULL,
    PRIMARY KEY (boundary, user_id)
);

COMMENT ON TABLE orisun.user_credential IS
$$The hashes of passwords (bcrypt). They stand beside the events, not in them, since events are read, subscribed to and
published; each is written in the transaction that saves the event of its change, and goes with its user.$$;

CREATE TABLE orisun.ended_session (
    number     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    boundary   text        NOT NULL,
    user_id    text        NOT NULL,
    session    bigint      NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX ended_session_user_idx ON orisun.ended_session (boundary, user_id);

COMMENT ON TABLE orisun.ended_session IS
$$The sessions of the console that their users ended by logging out. Tokens of such a session are void. A row is deleted
after expires_at, when all of these tokens have expired.$$;

CREATE TABLE orisun.login (
    user_id       text        NOT NULL,
    username      text        NOT NULL,
    name          text        NOT NULL,
    roles         text[]      NOT NULL,
    epoch         bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    password_hash text        NOT NULL,
    ended         bigint[]    NOT NULL
);

COMMENT ON TABLE orisun.login IS
$$The shape of what orisun.find_login returns: a user, the hash of its password, '' where it has none, and its ended
sessions. It holds no rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.read_roles(p_data jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT CASE WHEN jsonb_typeof(p_data -> 'roles') = 'array' THEN ARRAY(SELECT r.role
    FROM jsonb_array_elements_text(p_data -> 'roles') AS r(role) WHERE r.role IS NOT NULL) ELSE '{}' END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_roles(jsonb) IS
$$The roles in the data of an event UserCreated or UserRolesChanged; none where they are no array and none that are
null, so that an event saved by hand stops neither the projection nor those who read the table.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.project_users(p_boundary text, p_count integer DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events      regclass := (orisun.find_boundary(p_boundary)).events;
    v_checkpoints regclass := orisun.find_boundary_table(p_boundary, '_projector_checkpoint');
    v_idle        boolean;
    v_new         integer;
    v_after       bigint;
    v_transaction bigint;
    v_event       orisun.event;
    v_user_id     text;
    v_count       integer  := 0;
BEGIN
    IF p_count IS NOT NULL THEN
        -- A look every second neither locks nor writes where there is nothing to do.
        EXECUTE format('SELECT EXISTS (SELECT FROM %s c WHERE c.name = ''users'' AND NOT EXISTS (SELECT FROM %s e '
                       'WHERE e.global_id > c.global_id))',
                       v_checkpoints, v_events)
           INTO v_idle;
        IF v_idle THEN
            RETURN 0;
        END IF;
    END IF;
    EXECUTE format('INSERT INTO %s (name, transaction_id, global_id) VALUES (''users'', -1, -1) ON CONFLICT (name) DO '
                   'NOTHING', v_checkpoints);
    GET DIAGNOSTICS v_new = ROW_COUNT;
    IF v_new = 1 THEN
        DELETE FROM orisun.user_account u WHERE u.boundary = p_boundary;
    END IF;
    -- A session that projects at the same time waits here, and then sees what the other one did: each event is applied
    -- once.
    EXECUTE format('SELECT c.global_id FROM %s c WHERE c.name = ''users'' FOR UPDATE', v_checkpoints) INTO v_after;

    FOR v_event IN EXECUTE format('SELECT e.* FROM %s e WHERE e.global_id > $1 ORDER BY e.global_id LIMIT $2', v_events)
        USING v_after, p_count LOOP
        v_count := v_count + 1;
        v_transaction := v_event.transaction_id;
        v_after := v_event.global_id;
        v_user_id := v_event.data ->> 'user_id';
        CONTINUE WHEN v_user_id IS NULL;
        CASE v_event.event_type
        WHEN 'UserCreated' THEN
            INSERT INTO orisun.user_account (boundary, user_id, username, name, roles, epoch, created_at, updated_at)
            VALUES (p_boundary, v_user_id, coalesce(v_event.data ->> 'username', ''),
                    coalesce(v_event.data ->> 'name', ''), orisun.read_roles(v_event.data),
                    v_event.global_id, v_event.date_created, v_event.date_created)
            ON CONFLICT (boundary, user_id) DO NOTHING;
        WHEN 'UserPasswordChanged', 'UserSessionsEnded' THEN
            UPDATE orisun.user_account u SET epoch = v_event.global_id, updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        WHEN 'UserRolesChanged' THEN
            UPDATE orisun.user_account u SET roles = orisun.read_roles(v_event.data), epoch = v_event.global_id,
                updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        WHEN 'UserDeleted' THEN
            UPDATE orisun.user_account u SET deleted = true, updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        ELSE
            NULL;
        END CASE;
    END LOOP;
    IF v_count > 0 THEN
        EXECUTE format('UPDATE %s c SET transaction_id = $1, global_id = $2, date_updated = clock_timestamp() WHERE '
                       'c.name = ''users''', v_checkpoints)
          USING v_transaction, v_after;
    END IF;
    RETURN v_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.project_users(text, integer) IS
$$Applies the next p_count events of the admin boundary (without p_count all of them) to orisun.user_account, moves the
checkpoint 'users' in {schema}.{boundary}_projector_checkpoint past them in the same transaction, and answers how many
there were. Whatever interrupts it, each event is applied once. Without p_count other sessions that do the same wait
until the transaction ends. Without a checkpoint it begins with an empty table and the first event, so this rebuilds the
table:

  DELETE FROM admin.orisun_admin_projector_checkpoint WHERE name = 'users'
  SELECT orisun.project_users('orisun_admin')

Raises OR001 for an unknown boundary.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.save_user_event(p_boundary text, p_key text, p_event_type text, p_data jsonb, p_metadata jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_seen jsonb;
BEGIN
    -- The decision was made on what is projected: no event of its context may lie after that.
    EXECUTE format('SELECT jsonb_build_object(''transaction_id'', c.transaction_id, ''global_id'', c.global_id) FROM '
                   '%s c WHERE c.name = ''users''',
                   orisun.find_boundary_table(p_boundary, '_projector_checkpoint'))
       INTO v_seen;
    PERFORM orisun.insert_events_with_consistency(
        p_boundary,
        jsonb_build_object('expected_position', v_seen, 'criteria', jsonb_build_array(jsonb_build_object(
            'tags', jsonb_build_array(jsonb_build_object('key', p_key, 'value', p_data ->> p_key))))),
        jsonb_build_array(jsonb_build_object('event_id', gen_random_uuid(), 'event_type', p_event_type, 'data', p_data,
                                             'metadata', p_metadata)));
    PERFORM orisun.project_users(p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.save_user_event(text, text, text, jsonb, jsonb) IS
$$Saves an event about a user in the admin boundary, as any save under a context: all events with the same value of
p_key ('user_id' or 'username') as this one, and the position up to which users are projected. Then projects it, so that
a session that sees the event sees the user as well. Call it after orisun.project_users in the same transaction. Raises
OR003 when an event of the context was saved meanwhile: begin again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.create_user(p_boundary text, p_username text, p_name text, p_roles text[], p_password_hash text,
                                   p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user_id text := gen_random_uuid();
BEGIN
    PERFORM orisun.project_users(p_boundary);
    IF EXISTS (SELECT FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.username = p_username
                  AND NOT u.deleted) THEN
        RAISE EXCEPTION 'the username % is taken', quote_literal(p_username)
            USING ERRCODE = 'OR021',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'username', p_username)::text,
                  HINT = 'Choose another one, or delete that user first.';
    END IF;
    PERFORM orisun.save_user_event(
        p_boundary, 'username', 'UserCreated',
        jsonb_build_object('user_id', v_user_id, 'username', p_username, 'name', p_name, 'roles', to_jsonb(p_roles)),
        p_metadata);
    INSERT INTO orisun.user_credential (boundary, user_id, password_hash)
    VALUES (p_boundary, v_user_id, p_password_hash);
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_user(text, text, text, text[], text, jsonb) IS
$$Saves the event UserCreated, with who did it in p_metadata, and answers the user, who can log in as soon as this is
committed. What names, roles and passwords look like is the server's matter; p_password_hash is bcrypt's. Its context is
all events about the username. Raises OR021 when the username is taken, OR003 when it was taken meanwhile by hand: begin
again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_user(p_boundary text, p_user_id text) RETURNS orisun.user_account
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account;
BEGIN
    PERFORM orisun.project_users(p_boundary);
    SELECT u.* INTO v_user FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id
       AND NOT u.deleted;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(quote_literal(p_user_id), 'NULL')
            USING ERRCODE = 'OR020',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'user_id', p_user_id)::text,
                  HINT = 'SELECT user_id, username FROM orisun.user_account WHERE NOT deleted lists those who do.';
    END IF;
    RETURN v_user;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_user(text, text) IS
$$The user of an id for a change that follows in the same transaction: projects what is not yet, and until the
transaction ends no other change of a user gets in between. Raises OR020 where there is none, or none any more.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.change_user_password(p_boundary text, p_user_id text, p_password_hash text,
                                            p_epoch bigint DEFAULT NULL, p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    IF v_user.epoch <> p_epoch THEN
        RAISE EXCEPTION 'user % was changed meanwhile', quote_literal(p_user_id)
            USING ERRCODE = 'OR003', HINT = 'Look at the user again and decide again.';
    END IF;
    PERFORM orisun.save_user_event(
        p_boundary, 'user_id', 'UserPasswordChanged',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username),
        p_metadata);
    INSERT INTO orisun.user_credential AS c (boundary, user_id, password_hash)
    VALUES (p_boundary, p_user_id, p_password_hash)
    ON CONFLICT (boundary, user_id) DO UPDATE SET password_hash = EXCLUDED.password_hash;
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.change_user_password(text, text, text, bigint, jsonb) IS
$$Saves the event UserPasswordChanged and the hash of the new password, and returns the user; all tokens of the user are
void from then on. p_epoch is that of the user whose present password was checked, NULL where none was. Raises OR020 for
an unknown user, OR003 when the user was changed meanwhile.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.end_user_sessions(p_boundary text, p_user_id text, p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    PERFORM orisun.save_user_event(
        p_boundary, 'user_id', 'UserSessionsEnded',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username),
        p_metadata);
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.end_user_sessions(text, text, jsonb) IS
$$Saves the event UserSessionsEnded and returns the user; all tokens of the user are void from then on, its password is
not. Raises OR020 for an unknown user, OR003 when the user was changed meanwhile by hand: begin again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.change_user_roles(p_boundary text, p_user_id text, p_roles text[], p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    PERFORM orisun.save_user_event(
        p_boundary, 'user_id', 'UserRolesChanged',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username, 'roles', to_jsonb(p_roles)),
        p_metadata);
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.change_user_roles(text, text, text[], jsonb) IS
$$Saves the event UserRolesChanged and answers the user; all tokens of the user are void from then on. Raises OR020 for
an unknown user, OR003 when the user was changed meanwhile by hand: begin again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.set_user_boundary_permissions(p_boundary text, p_user_id text, p_in text, p_roles text[],
                                            p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    RETURN QUERY
    SELECT u.* FROM orisun.change_user_roles(
        p_boundary, p_user_id, ARRAY(SELECT r FROM unnest(v_user.roles) r
                                      WHERE r NOT IN ('read:' || p_in, 'write:' || p_in)) || p_roles, p_metadata) u;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.set_user_boundary_permissions(text, text, text, text[], jsonb) IS
$$Replaces the roles read: and write: of a user in the boundary p_in, and leaves the others. Raises what
orisun.change_user_roles raises.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.delete_user(p_boundary text, p_user_id text, p_metadata jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    PERFORM orisun.save_user_event(
        p_boundary, 'user_id', 'UserDeleted',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username),
        p_metadata);
    DELETE FROM orisun.user_credential c WHERE c.boundary = p_boundary AND c.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.delete_user(text, text, jsonb) IS
$$Saves the event UserDeleted. The user cannot log in any more, all its tokens are void, its username is free again; the
events about it stay. Raises OR020 for an unknown user, OR003 when the user was changed meanwhile by hand: begin
again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.bootstrap_admin(p_boundary text, p_username text, p_password_hash text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.project_users(p_boundary); -- and keeps every other change of users, on any node, waiting
    IF EXISTS (SELECT FROM orisun.user_account u WHERE u.boundary = p_boundary AND 'admin' = ANY (u.roles)
                  AND NOT u.deleted) THEN
        RETURN false;
    END IF;
    PERFORM orisun.create_user(p_boundary, p_username, p_username, ARRAY['admin'], p_password_hash,
                               '{"actor": "bootstrap"}');
    RETURN true;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.bootstrap_admin(text, text, text) IS
$$Creates the first user with role admin, and returns whether it did: not if there is one already. Of several nodes that
do so at once, one does. Raises OR021 when the username is taken by a user who is no admin.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_login(p_boundary text, p_user_id text, p_username text) RETURNS SETOF orisun.login
LANGUAGE sql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
SELECT u.user_id, u.username, u.name, u.roles, u.epoch, u.created_at, u.updated_at, coalesce(c.password_hash, ''),
       ARRAY(SELECT s.session FROM orisun.ended_session s WHERE s.boundary = u.boundary AND s.user_id = u.user_id)
  FROM orisun.user_account u
  LEFT JOIN orisun.user_credential c ON c.boundary = u.boundary AND c.user_id = u.user_id
 WHERE u.boundary = p_boundary AND NOT u.deleted AND (u.user_id = p_user_id OR u.username = p_username)
 ORDER BY u.epoch DESC
 LIMIT 1
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_login(text, text, text) IS
$$The user with an id or with a username (the other one is NULL), the hash of its password and its ended sessions: one
row, or none.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.end_session(p_boundary text, p_user_id text, p_session bigint, p_expires_in interval,
                                   p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Numbers are committed in their order, so that the highest one changes with each commit (orisun.get_auth_state).
    LOCK TABLE orisun.ended_session IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM orisun.ended_session s WHERE s.expires_at < clock_timestamp();
    IF EXISTS (SELECT FROM orisun.ended_session s
                WHERE s.boundary = p_boundary AND s.user_id = p_user_id AND s.session = p_session) THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM orisun.ended_session s
         WHERE s.boundary = p_boundary AND s.user_id = p_user_id) >= p_limit THEN
        RAISE EXCEPTION 'user % has ended % sessions lately, at most % are stored', quote_literal(p_user_id), p_limit,
            p_limit
            USING ERRCODE = 'OR022',
                  HINT = 'The session ends when its token expires. A change of the password ends it at once.';
    END IF;
    INSERT INTO orisun.ended_session (boundary, user_id, session, expires_at)
    VALUES (p_boundary, p_user_id, p_session, clock_timestamp() + p_expires_in);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.end_session(text, text, bigint, interval, integer) IS
$$Voids the tokens of a session of the console. p_expires_in is the time after which all of them have expired. Raises
OR022 when p_limit ended sessions of the user are stored.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.list_users(p_boundary text) RETURNS SETOF orisun.user_account
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND NOT u.deleted ORDER BY u.username
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_users(text) IS $$The users of an admin boundary who are not deleted, by username.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.count_users(p_boundary text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT count(*) FROM orisun.user_account u WHERE u.boundary = p_boundary AND NOT u.deleted
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.count_users(text) IS $$How many users of an admin boundary are not deleted.$$;

-- +goose Down
DROP FUNCTION orisun.end_session(text, text, bigint, interval, integer);
DROP FUNCTION orisun.count_users(text);
DROP FUNCTION orisun.list_users(text);
DROP FUNCTION orisun.find_login(text, text, text);
DROP FUNCTION orisun.bootstrap_admin(text, text, text);
DROP FUNCTION orisun.delete_user(text, text, jsonb);
DROP FUNCTION orisun.set_user_boundary_permissions(text, text, text, text[], jsonb);
DROP FUNCTION orisun.change_user_roles(text, text, text[], jsonb);
DROP FUNCTION orisun.end_user_sessions(text, text, jsonb);
DROP FUNCTION orisun.change_user_password(text, text, text, bigint, jsonb);
DROP FUNCTION orisun.find_user(text, text);
DROP FUNCTION orisun.create_user(text, text, text, text[], text, jsonb);
DROP FUNCTION orisun.save_user_event(text, text, text, jsonb, jsonb);
DROP FUNCTION orisun.project_users(text, integer);
DROP FUNCTION orisun.read_roles(jsonb);
DROP TABLE orisun.login;
DROP TABLE orisun.ended_session;
DROP TABLE orisun.user_credential;
DROP TABLE orisun.user_account;
