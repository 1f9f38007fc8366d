-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.check_name(p_what text, p_name text, p_limit integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_what = 'schema' AND (p_name LIKE 'pg\_%' OR p_name = 'information_schema') THEN
        RAISE EXCEPTION 'the schema % belongs to PostgreSQL', quote_literal(p_name)
            USING ERRCODE = 'OR002',
                  DETAIL = jsonb_build_object('what', p_what, 'name', p_name)::text,
                  HINT = 'Choose one that is neither pg_* nor information_schema.';
    END IF;
    IF p_name IS NULL OR p_name !~ '^[A-Za-z_][A-Za-z0-9_-]*$' OR octet_length(p_name) > p_limit THEN
        RAISE EXCEPTION 'the % name % is invalid', p_what, coalesce(quote_literal(p_name), 'NULL')
            USING ERRCODE = 'OR002',
                  DETAIL = jsonb_build_object('what', p_what, 'name', p_name, 'limit', p_limit)::text,
                  HINT = format('Use 1 to %s of the characters A-Z a-z 0-9 _ -, beginning with a letter or _. '
                                'PostgreSQL cuts longer identifiers in silence, so that two names would meet in one.', p_limit);
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_name(text, text, integer) IS $$Raises OR002 when a name holds other characters than A-Z a-z 0-9 _ -, or more than p_limit of them, or is that of a schema of PostgreSQL's own.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.check_name(text, text, integer);
