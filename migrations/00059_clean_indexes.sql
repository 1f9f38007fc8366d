-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.clean_indexes(p_boundary text) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT orisun.drop_broken_indexes(p_boundary);
    RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.clean_indexes(text) IS $$The statements that remove what builds left which were cancelled or killed: invalid indexes, and definitions without an index. They are run one
after the other in this session and in no transaction. None while another session makes or drops an index of the boundary, which cleans by
itself. Servers do so when they start. Raises OR001 for an unknown boundary.

  SELECT orisun.clean_indexes('orders') \gexec$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.clean_indexes(text);
