-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.typed_expression(p_text text, p_type text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE p_type
        WHEN 'TEXT' THEN format('left(%s, 128) COLLATE "C"', p_text)
        WHEN 'NUMERIC' THEN format('orisun.try_numeric(%s)', p_text)
        WHEN 'BOOLEAN' THEN format('orisun.try_boolean(%s)', p_text)
        WHEN 'TIMESTAMPTZ' THEN format('orisun.try_timestamptz(%s)', p_text)
    END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.typed_expression(text, text) IS $$The SQL that an index of a type keeps of a text. No event may fail to be saved for an index's sake: of a TEXT the first 128
characters are kept, since an entry of a b-tree has at most 2,704 bytes, and what a typed field does not understand is NULL. COLLATE "C" makes the
order, and so the index, independent of the operating system's locales.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.typed_expression(text, text);
