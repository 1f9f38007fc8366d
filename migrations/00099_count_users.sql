-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.count_users(p_boundary text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT count(*) FROM orisun.user_account u WHERE u.boundary = p_boundary AND NOT u.deleted
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.count_users(text) IS $$How many users of an admin boundary are not deleted.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.count_users(text);
