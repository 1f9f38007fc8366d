-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.try_lease(p_boundary text, p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (orisun.find_boundary(p_boundary)).number;
BEGIN
    IF p_name = 'publisher' THEN
        RETURN pg_try_advisory_lock(orisun.lease_class(), v_number);
    END IF;
    RETURN pg_try_advisory_lock(hashtextextended(p_name, v_number));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_lease(text, text) IS $$Takes a lease of a boundary for this session, if nobody else holds it; never waits. It ends with orisun.release_lease or with the session.
A lease is a session advisory lock. That of the name 'publisher' has two keys, orisun.lease_class() and the boundary's number; that of any
other name has one: hashtextextended(name, number). Taken twice by one session it is to be released twice. Raises OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.try_lease(text, text);
