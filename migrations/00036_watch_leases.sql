-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.watch_leases(p_silent text[]) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH other AS (
        SELECT a.pid, concat_ws(' ', a.pid, extract(epoch FROM a.backend_start), extract(epoch FROM a.state_change)) AS mark
          FROM pg_stat_activity a
         WHERE a.application_name = current_setting('application_name') AND a.datname = current_database() AND a.pid <> pg_backend_pid()
           AND a.state_change IS NOT NULL AND pg_has_role(a.usesysid, 'USAGE')
    )
    SELECT o.mark FROM other o WHERE CASE WHEN o.mark = ANY (p_silent) THEN NOT pg_terminate_backend(o.pid) ELSE true END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.watch_leases(text[]) IS $$Returns a mark for each other session of this database that has this one's application_name, and ends those whose mark is among p_silent.
A session has a new mark after each statement. So a mark that comes back again and again, while time passes for the caller, is one of a session whose client sends nothing: the process is
stopped, or its machine is frozen. No clock is compared. Sessions of roles whose privileges the caller does not have are left out, and all are with track_activities off.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.watch_leases(text[]);
