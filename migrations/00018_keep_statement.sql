-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.keep_statement(p_name text, p_types text, p_statement text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_kept  text := coalesce(current_setting('orisun.kept_statements', true), '');
    v_begun text := format('[from %s on] ', extract(epoch FROM now()));
    v_old   text;
BEGIN
    IF strpos(v_kept, p_name) > 0 THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_prepared_statements s WHERE s.name = p_name) THEN
        -- PREPARE and DEALLOCATE outlive a rollback, the setting does not. So a statement that it may name again stays: after the transaction
        -- that began the list anew, that is none which it does not name now.
        IF NOT starts_with(v_kept, v_begun) AND (SELECT count(*) FROM pg_prepared_statements s WHERE s.name ~ '^orisun_[0-9a-f]{32}$') >= 128 THEN
            FOR v_old IN SELECT s.name FROM pg_prepared_statements s WHERE s.name ~ '^orisun_[0-9a-f]{32}$' AND strpos(v_kept, s.name) = 0 LOOP
                EXECUTE format('DEALLOCATE %I', v_old);
            END LOOP;
        END IF;
        EXECUTE format('PREPARE %I (%s) AS %s', p_name, p_types, p_statement);
    END IF;
    -- Shapes of criteria come from clients, so the list is bounded. What is used finds its way back into it, still prepared.
    IF length(v_kept) >= 64 * length(p_name) THEN
        v_kept := v_begun;
    END IF;
    PERFORM set_config('orisun.kept_statements', v_kept || p_name, false);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.keep_statement(text, text, text) IS $$Prepares a statement, unless this session has done so before. p_name is orisun_ and the MD5 of all that the statement is
composed from. PostgreSQL plans what a function composes anew at every call, which takes several times as long as to run it; a prepared statement
keeps its plan until an index or the statistics change. orisun.kept_statements (SHOW it) names at most 64: who finds a name there need not ask. At most 128
stay in a session, and what one transaction prepares beyond. DEALLOCATE ALL in the session breaks the next EXECUTE (26000); DISCARD ALL does not.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.keep_statement(text, text, text);
