-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.rotate_token_key() RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number integer;
BEGIN
    LOCK TABLE orisun.token_key IN SHARE ROW EXCLUSIVE MODE;
    -- Each UUID has 122 bits of PostgreSQL's strong random generator.
    INSERT INTO orisun.token_key (key)
    VALUES (sha256(convert_to(concat(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()), 'UTF8')))
    RETURNING number INTO v_number;
    DELETE FROM orisun.token_key k WHERE k.number < (SELECT max(o.number) FROM orisun.token_key o WHERE o.number < v_number);
    RETURN v_number;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.rotate_token_key() IS $$Makes a new key for tokens and keeps the one before it: the servers sign with the new one within a second, and tokens
under the old one go on counting. Rotate twice, and every token issued before is void: everybody logs in again.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.rotate_token_key();
