-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.keep_statement(p_name text, p_types text, p_statement text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_kept text := coalesce(current_setting('orisun.kept_statements', true), '');
    v_old  text;
BEGIN
    IF strpos(v_kept, p_name) > 0 THEN
        RETURN;
    END IF;
    -- PREPARE outlives a rollback, the setting does not.
    IF NOT EXISTS (SELECT FROM pg_prepared_statements s WHERE s.name = p_name) THEN
        -- Shapes of criteria come from clients: what a session keeps is bounded, and what it uses comes back.
        IF length(v_kept) >= 64 * length(p_name) THEN
            FOR v_old IN SELECT s.name FROM pg_prepared_statements s WHERE s.name ~ '^orisun_[0-9a-f]{32}$' LOOP
                EXECUTE format('DEALLOCATE %I', v_old);
            END LOOP;
            v_kept := '';
        END IF;
        EXECUTE format('PREPARE %I (%s) AS %s', p_name, p_types, p_statement);
    END IF;
    PERFORM set_config('orisun.kept_statements', v_kept || p_name, false);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.keep_statement(text, text, text) IS $$Prepares a statement, unless this session has done so before. p_name is orisun_ and the MD5 of all that the statement is
composed from. PostgreSQL plans what a function composes anew at every call, which takes several times as long as to run it; a prepared statement
keeps its plan until an index or the statistics change. At most 64 stay in a session: orisun.kept_statements (SHOW it) has their
names. DEALLOCATE ALL in the session breaks the next EXECUTE (26000); DISCARD ALL does not.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.keep_statement(text, text, text);
