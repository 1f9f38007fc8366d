-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.list_users(p_boundary text) RETURNS SETOF orisun.user_account
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND NOT u.deleted ORDER BY u.username
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_users(text) IS $$The users of an admin boundary who are not deleted, by username.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.list_users(text);
