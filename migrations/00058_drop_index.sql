-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.drop_index(p_boundary text, p_name text) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_relation text;
BEGIN
    PERFORM orisun.find_boundary(p_boundary);
    SELECT i.relation INTO v_relation FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND i.name = p_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boundary "%" has no index %', p_boundary, coalesce(quote_literal(p_name), 'NULL')
            USING ERRCODE = 'OR009',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'index', p_name)::text,
                  HINT = 'SELECT name FROM orisun.list_indexes(boundary) lists those that it has.';
    END IF;
    IF NOT orisun.lock_indexes(p_boundary) THEN
        RAISE EXCEPTION 'another session makes or drops an index of boundary "%"', p_boundary
            USING ERRCODE = 'OR011',
                  DETAIL = jsonb_build_object('boundary', p_boundary)::text,
                  HINT = 'Try again when it is done; orisun.list_indexes tells how far it is.';
    END IF;
    RETURN QUERY VALUES (format('DROP INDEX CONCURRENTLY IF EXISTS %s', v_relation)), (format('SELECT orisun.finish_indexing(%L)', p_boundary));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.drop_index(text, text) IS $$The statements that drop an index and its definition, to be run one after the other in this session and in no transaction. In psql:

  SELECT orisun.drop_index('orders', 'user_id') \gexec

Raises OR001 for an unknown boundary, OR009 for an unknown index, OR011 while another session makes or drops an index of the boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.drop_index(text, text);
