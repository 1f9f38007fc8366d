-- +goose Up
CREATE TABLE orisun.token_key (
    number     integer     NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.token_key IS
$$The secrets with which the servers sign the tokens of those who logged in. All nodes take tokens under any of them,
and sign with the latest.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.rotate_token_key() RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer;
BEGIN
    LOCK TABLE orisun.token_key IN SHARE ROW EXCLUSIVE MODE;
    -- Each UUID has 122 bits of PostgreSQL's strong random generator.
    INSERT INTO orisun.token_key (key)
    VALUES (sha256(convert_to(concat(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()),
                              'UTF8')))
    RETURNING number INTO v_number;
    DELETE FROM orisun.token_key k
     WHERE k.number < (SELECT max(o.number) FROM orisun.token_key o WHERE o.number < v_number);
    RETURN v_number;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.rotate_token_key() IS
$$Makes a new key for tokens and keeps the one before it: the servers sign with the new one within a second, and tokens
under the old one go on counting. Rotate twice, and every token issued before is void: everybody logs in again.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_token_keys() RETURNS SETOF orisun.token_key
LANGUAGE plpgsql VOLATILE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM orisun.token_key) THEN
        LOCK TABLE orisun.token_key IN SHARE ROW EXCLUSIVE MODE;
        IF NOT EXISTS (SELECT FROM orisun.token_key) THEN
            PERFORM orisun.rotate_token_key();
        END IF;
    END IF;
    RETURN QUERY SELECT k.* FROM orisun.token_key k ORDER BY k.number;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_token_keys() IS
$$The keys for tokens, the latest one last; makes the first one where there is none.$$;

CREATE TABLE orisun.auth_state (
    version   bigint  NOT NULL,
    token_key integer NOT NULL
);

COMMENT ON TABLE orisun.auth_state IS $$The shape of what orisun.get_auth_state returns. It holds no rows.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.get_auth_state(p_boundary text) RETURNS SETOF orisun.auth_state
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT coalesce((SELECT c.global_id FROM %s c WHERE c.name = 'users'), -1)
               + coalesce((SELECT max(s.number) FROM orisun.ended_session s), 0),
               coalesce((SELECT max(k.number) FROM orisun.token_key k), 0)
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_auth_state(text) IS
$$What a server reads to know whether its cached users and keys are old: version is up to which event users are
projected plus the number of the latest ended session, so it grows in the transaction that changes a user or ends a
session; token_key is the number of the latest key. Raises OR001 for an unknown boundary.$$;

-- +goose Down
DROP FUNCTION orisun.get_auth_state(text);
DROP TABLE orisun.auth_state;
DROP FUNCTION orisun.get_token_keys();
DROP FUNCTION orisun.rotate_token_key();
DROP TABLE orisun.token_key;
