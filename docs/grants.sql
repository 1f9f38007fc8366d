-- The rights of the role that runs the server. psql runs this file, and may do so again at any time. There are two
-- ways:
--
-- 1. The server migrates when it starts, and owns what it creates. The database's owner or a superuser runs, once:
--
--      psql -v role=app -v migrates=true -f docs/grants.sql "$DSN"
--
-- 2. Another role migrates (`orisun migrate`), and creates and deletes boundaries and indexes. The server runs with
--    ORISUN_PG_AUTO_MIGRATE=false. That role, which owns schema orisun, or a superuser runs, after each migration and
--    each new boundary:
--
--      psql -v role=app -v migrates=false -f docs/grants.sql "$DSN"
--
-- ORISUN_PG_MIGRATIONS_TABLE, where it is set, is passed as -v migrations_table=schema.table.
\set ON_ERROR_STOP on
SELECT current_database() AS database \gset
\if :{?migrations_table}
\else
\set migrations_table public.goose_db_version
\endif

BEGIN;
GRANT CONNECT ON DATABASE :"database" TO :"role";
\if :migrates
GRANT CREATE ON DATABASE :"database" TO :"role";
-- It holds the migrations' table and the boundaries of ORISUN_PG_SCHEMAS=…:public.
GRANT CREATE, USAGE ON SCHEMA public TO :"role";
\else
GRANT USAGE ON SCHEMA orisun TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orisun TO :"role";
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA orisun TO :"role";
GRANT SELECT ON :migrations_table TO :"role";
-- For each boundary: its schema, SELECT and INSERT on its events, and its positions and functions.
SELECT orisun.find_missing_rights(:'role') \gexec
\endif
COMMIT;
