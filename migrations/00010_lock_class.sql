-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792787 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_class() IS $$The first key of the advisory locks under which positions are drawn; the second is the boundary's number, or 0 for
the catalogue itself. The number spells ORIS in ASCII. In psql: SELECT * FROM pg_locks WHERE locktype = 'advisory' AND classid = orisun.lock_class()::oid$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lock_class();
