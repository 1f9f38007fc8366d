-- +goose Up
CREATE TABLE orisun.store (
    singleton   boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (singleton),
    store_id    uuid        NOT NULL,
    database_id text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.store IS
$$The store's identity, one row. Every message that a node publishes names store_id, and nodes of different stores never
join one NATS cluster.$$;
COMMENT ON COLUMN orisun.store.database_id IS
$$The database for which store_id was made: PostgreSQL's system_identifier and the database's oid. In a copy they
differ, and the copy gets an identity of its own.$$;

CREATE FUNCTION orisun.database_id() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat(c.system_identifier, '/', d.oid)
      FROM pg_control_system() c, pg_database d
     WHERE d.datname = current_database()
$$;

COMMENT ON FUNCTION orisun.database_id() IS
$$What distinguishes this database from its copies (orisun.store).$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.renew_store() RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_store_id uuid;
BEGIN
    DELETE FROM orisun.store;
    INSERT INTO orisun.store (store_id, database_id)
    VALUES (gen_random_uuid(), orisun.database_id())
    RETURNING store_id INTO v_store_id;
    -- The second rotation removes the last key that the copied database may share with its original.
    PERFORM orisun.rotate_token_key();
    PERFORM orisun.rotate_token_key();
    RETURN v_store_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.renew_store() IS
$$Gives the store a new identity and new keys for tokens, so that every token issued before is void. Call it in a
physical copy (a base backup, a disk snapshot) that is to run beside its original, before its first server starts; other
copies are recognised (orisun.claim_store). All nodes of the store have to be restarted afterwards.

  SELECT orisun.renew_store()$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.claim_store() RETURNS TABLE (store_id text, previous_id text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_database text := orisun.database_id();
    v_store    orisun.store;
BEGIN
    SELECT s.* INTO v_store FROM orisun.store s;
    IF v_store.database_id IS DISTINCT FROM v_database THEN
        -- Several nodes may start at once: the first one renews, the others read what it stored.
        LOCK TABLE orisun.store IN SHARE ROW EXCLUSIVE MODE;
        SELECT s.* INTO v_store FROM orisun.store s;
    END IF;
    IF v_store.database_id = v_database THEN
        RETURN QUERY SELECT v_store.store_id::text, v_store.store_id::text;
    ELSE
        RETURN QUERY SELECT orisun.renew_store()::text, coalesce(v_store.store_id::text, '');
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.claim_store() IS
$$The store's identity, for a node that starts. A database that is a copy (restored from a dump, made from a template,
moved by pg_upgrade) is recognised by its system_identifier and oid, and gets a new identity and new keys for tokens.
previous_id is the identity that was stored before: the same one, that of the original, or empty where there was
none.$$;

-- +goose Down
DROP FUNCTION orisun.claim_store();
DROP FUNCTION orisun.renew_store();
DROP FUNCTION orisun.database_id();
DROP TABLE orisun.store;
