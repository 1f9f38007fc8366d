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

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lease_class();
