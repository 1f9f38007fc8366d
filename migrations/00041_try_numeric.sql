-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.try_numeric(p_text text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN octet_length(p_text) <= 128 AND p_text COLLATE "C" ~ '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$'
                THEN p_text::numeric END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_numeric(text) IS $$A number of at most 128 bytes, its exponent of at most three digits, as numeric; NULL for anything else, never an error: indexes call
it on whatever an event holds, and the number must fit an index's entry. It has no search_path of its own, so that it is inlined into queries.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.try_numeric(text);
