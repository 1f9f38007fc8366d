-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_open_schemas() RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.nspname::text
      FROM pg_namespace n
     WHERE (n.nspname = 'orisun' OR n.nspname IN (SELECT b.schema_name FROM orisun.boundary b))
       AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')
     ORDER BY n.nspname
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_open_schemas() IS
$$The schemas of boundaries in which PUBLIC, that is every role, may create objects: as schema public allows before
PostgreSQL 15, and in databases upgraded from there. REVOKE CREATE ON SCHEMA public FROM PUBLIC closes one.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.find_missing_rights(p_role text) RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH boundary AS (
        SELECT b.name, n.oid AS schema FROM orisun.boundary b JOIN pg_namespace n ON n.nspname = b.schema_name
         WHERE b.status = 'ACTIVE'
    ), needed (kind, schema, oid, object, rights) AS (
        SELECT 'SCHEMA', n.oid, n.oid, format('%I', n.nspname), ARRAY['USAGE']
          FROM pg_namespace n
         WHERE n.nspname = 'orisun' OR n.oid IN (SELECT b.schema FROM boundary b)
         UNION ALL
        SELECT 'TABLE', c.relnamespace, c.oid, c.oid::regclass::text, ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
          FROM pg_class c
         WHERE c.relnamespace = 'orisun'::regnamespace AND c.relkind = 'r'
         UNION ALL
        SELECT t.kind, c.relnamespace, c.oid, c.oid::regclass::text, t.rights
          FROM boundary b
         CROSS JOIN (VALUES ('TABLE', '_orisun_es_event', ARRAY['SELECT', 'INSERT']),
                            ('TABLE', '_orisun_last_published_event_position', ARRAY['SELECT', 'INSERT', 'UPDATE']),
                            ('TABLE', '_projector_checkpoint', ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
                            ('SEQUENCE', '_orisun_es_event_global_id_seq', ARRAY['USAGE', 'UPDATE'])) AS t(kind, suffix,
                                rights)
          JOIN pg_class c ON c.relnamespace = b.schema AND c.relname = b.name || t.suffix
         UNION ALL
        SELECT 'FUNCTION', p.pronamespace, p.oid, p.oid::regprocedure::text, ARRAY['EXECUTE']
          FROM pg_proc p
         WHERE p.pronamespace = 'orisun'::regnamespace
         UNION ALL
        SELECT 'FUNCTION', p.pronamespace, p.oid, p.oid::regprocedure::text, ARRAY['EXECUTE']
          FROM boundary b
          JOIN pg_proc t ON t.pronamespace = 'orisun_boundary'::regnamespace
          JOIN pg_proc p ON p.pronamespace = b.schema AND p.proname = b.name || '_orisun_' || t.proname
    ), missing AS (
        SELECT n.kind, n.schema, n.object, string_agg(r.name, ', ' ORDER BY r.ordinal) AS rights
          FROM needed n
         CROSS JOIN unnest(n.rights) WITH ORDINALITY AS r(name, ordinal)
         WHERE NOT CASE n.kind WHEN 'SCHEMA' THEN has_schema_privilege(p_role, n.oid, r.name)
                               WHEN 'TABLE' THEN has_table_privilege(p_role, n.oid, r.name)
                               WHEN 'SEQUENCE' THEN has_sequence_privilege(p_role, n.oid, r.name)
                               ELSE has_function_privilege(p_role, n.oid, r.name) END
         GROUP BY n.kind, n.schema, n.object
    )
    SELECT format('GRANT %s ON %s %s TO %I', m.rights, m.kind, string_agg(m.object, ', ' ORDER BY m.object), p_role)
      FROM missing m
     GROUP BY m.kind, m.schema, m.rights
     ORDER BY m.kind <> 'SCHEMA', m.schema, m.kind, m.rights
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_missing_rights(text) IS
$$The GRANTs that a role lacks to run the server on what another role migrated: on schema orisun, and on each
boundary's schema, tables and functions. Events can be read and inserted, not changed. The owner of the schema runs them
in psql (docs/grants.sql):

  SELECT orisun.find_missing_rights('app') \gexec

To create and to delete boundaries and indexes is a right of their owner, which no GRANT gives but membership in that
role.$$;

CREATE FUNCTION orisun.find_blocking_sessions(p_pid integer)
RETURNS TABLE (pid integer, username text, application text, client text, state text, seconds double precision)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
           coalesce(host(a.client_addr), CASE WHEN a.client_port = -1 THEN 'socket' END, ''),
           coalesce(a.state, ''), coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::double precision
      FROM pg_stat_activity a
     WHERE a.pid = ANY (pg_blocking_pids(p_pid))
     ORDER BY a.xact_start
$$;

COMMENT ON FUNCTION orisun.find_blocking_sessions(integer) IS
$$The sessions that hold, or wait earlier for, what the session p_pid waits for: the longest transaction first, with its
age in seconds. Of other roles' sessions PostgreSQL shows client, state and age to members of pg_read_all_stats
only; they are empty otherwise.

  SELECT l.pid, b.* FROM pg_locks l CROSS JOIN LATERAL orisun.find_blocking_sessions(l.pid) b WHERE NOT l.granted$$;

-- +goose Down
DROP FUNCTION orisun.find_blocking_sessions(integer);
DROP FUNCTION orisun.find_missing_rights(text);
DROP FUNCTION orisun.find_open_schemas();
