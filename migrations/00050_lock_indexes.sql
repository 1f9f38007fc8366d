-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_indexes(p_boundary text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (orisun.find_boundary(p_boundary)).number;
BEGIN
    -- Held already, it is not to be taken twice, since it would have to be released twice.
    RETURN EXISTS (SELECT FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted AND l.objsubid = 2
                      AND l.classid = orisun.index_class()::oid AND l.objid = v_number::oid)
        OR pg_try_advisory_lock(orisun.index_class(), v_number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_indexes(text) IS $$Takes, for this session, the right to make and drop a boundary's indexes, if nobody else has it; orisun.finish_indexing gives it back. It never
waits: a waiting session would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for all of them to end. Raises OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lock_indexes(text);
