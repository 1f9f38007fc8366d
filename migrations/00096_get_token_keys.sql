-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_token_keys() RETURNS SETOF orisun.token_key
LANGUAGE plpgsql VOLATILE ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM orisun.token_key) THEN
        LOCK TABLE orisun.token_key IN SHARE ROW EXCLUSIVE MODE;
        IF NOT EXISTS (SELECT FROM orisun.token_key) THEN
            PERFORM orisun.rotate_token_key();
        END IF;
    END IF;
    RETURN QUERY SELECT k.* FROM orisun.token_key k ORDER BY k.number;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_token_keys() IS $$The keys for tokens, the latest one last; makes the first one where there is none.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_token_keys();
