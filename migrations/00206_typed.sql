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

-- +goose StatementBegin
CREATE FUNCTION orisun.try_boolean(p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE p_text WHEN 'true' THEN true WHEN 'false' THEN false END $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_boolean(text) IS $$JSON's true and false, or strings that say so, as boolean; NULL for anything else, never an error. It has no search_path of its own, so
that it is inlined into queries.$$;

-- +goose StatementBegin
CREATE FUNCTION orisun.try_timestamptz(p_text text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    v_year  integer;
    v_month integer;
BEGIN
    -- With the year first and an explicit offset, neither DateStyle nor TimeZone changes what the text means.
    IF p_text IS NULL OR octet_length(p_text) > 64 OR p_text COLLATE "C" !~
       '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?([Zz]|[-+](0[0-9]|1[0-5])(:?[0-5][0-9])?)$' THEN
        RETURN NULL;
    END IF;
    v_year := substr(p_text, 1, 4);
    v_month := substr(p_text, 6, 2);
    IF v_year = 0 OR substr(p_text, 9, 2)::integer > (CASE
           WHEN v_month IN (4, 6, 9, 11) THEN 30
           WHEN v_month <> 2 THEN 31
           WHEN v_year % 4 = 0 AND (v_year % 100 <> 0 OR v_year % 400 = 0) THEN 29
           ELSE 28 END) THEN
        RETURN NULL;
    END IF;
    RETURN p_text::timestamptz;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.try_timestamptz(text) IS $$A time in ISO 8601 with its offset, such as 2026-11-23T06:30:00.5Z or 2026-11-23 08:30+02:00, as timestamptz; NULL for anything
else, never an error. A time without an offset is NULL, because it would mean another moment in each session's time zone.$$;

-- +goose Down
DROP FUNCTION orisun.try_timestamptz(text);
DROP FUNCTION orisun.try_boolean(text);
DROP FUNCTION orisun.try_numeric(text);
