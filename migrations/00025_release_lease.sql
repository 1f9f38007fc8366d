-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.release_lease(p_boundary text, p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer := (orisun.find_boundary(p_boundary)).number;
BEGIN
    IF p_name = 'publisher' THEN
        RETURN pg_advisory_unlock(orisun.lease_class(), v_number);
    END IF;
    RETURN pg_advisory_unlock(hashtextextended(p_name, v_number));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.release_lease(text, text) IS $$Gives up a lease that orisun.try_lease gave to this session. False, and a warning, when the session does not hold it. Raises
OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.release_lease(text, text);
