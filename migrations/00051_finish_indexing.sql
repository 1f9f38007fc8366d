-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.finish_indexing(p_boundary text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_saving text;
BEGIN
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RETURN;
    END IF;
    DELETE FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND to_regclass(i.relation) IS NULL;
    -- To replace a function that another transaction is replacing is an error, and to replace it at all lets each session plan anew.
    PERFORM FROM orisun.boundary b WHERE b.name = p_boundary FOR NO KEY UPDATE;
    v_saving := orisun.compose_plain_saving(p_boundary);
    IF NOT EXISTS (SELECT FROM pg_proc p
                    WHERE p.oid = to_regproc(orisun.saving_function(p_boundary, 'plain')) AND strpos(v_saving, quote_literal(p.prosrc)) > 0) THEN
        EXECUTE v_saving;
    END IF;
    PERFORM pg_advisory_unlock(orisun.index_class(), (orisun.find_boundary(p_boundary)).number);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.finish_indexing(text) IS $$Forgets definitions whose index does not exist, lets saves know the indexes that there are (orisun.compose_plain_saving), and gives up the right of orisun.lock_indexes: the last of the statements that
orisun.create_index, orisun.drop_index and orisun.clean_indexes answer. It does nothing while another session has that right.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.finish_indexing(text);
