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

COMMENT ON FUNCTION orisun.find_open_schemas() IS $$The schemas of boundaries in which PUBLIC, that is every role, may create objects: as schema public allows before PostgreSQL 15, and in databases upgraded
from there. REVOKE CREATE ON SCHEMA public FROM PUBLIC closes one.$$;

-- +goose Down
DROP FUNCTION orisun.find_open_schemas();
