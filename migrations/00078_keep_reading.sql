-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.keep_reading(
    p_name         text,
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_bound        boolean,
    p_descending   boolean
) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_reading record := orisun.compose_reading(p_boundary, p_tag_criteria, p_tag_keys, p_tag_values,
                                               p_bound AND NOT p_descending, p_bound AND p_descending, p_descending);
    v_name    text   := CASE WHEN v_reading.depends_on_values THEN 'orisun_' || md5(v_reading.statement) ELSE p_name END;
BEGIN
    PERFORM orisun.keep_statement(v_name, orisun.reading_types(), v_reading.statement);
    RETURN v_name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.keep_reading(text, text, integer[], text[], text[], boolean, boolean) IS $$Keeps the statement that orisun.compose_reading composes, and answers its name: p_name, unless the statement depends on values. So who
finds p_name kept need not ask.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.keep_reading(text, text, integer[], text[], text[], boolean, boolean);
