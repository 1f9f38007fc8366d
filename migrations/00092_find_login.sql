-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_login(p_boundary text, p_user_id text, p_username text) RETURNS SETOF orisun.login
LANGUAGE sql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
SELECT u.user_id, u.username, u.name, u.roles, u.epoch, u.created_at, u.updated_at, coalesce(c.password_hash, '')
  FROM orisun.user_account u
  LEFT JOIN orisun.user_credential c ON c.boundary = u.boundary AND c.user_id = u.user_id
 WHERE u.boundary = p_boundary AND NOT u.deleted AND (u.user_id = p_user_id OR u.username = p_username)
 ORDER BY u.epoch DESC
 LIMIT 1
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_login(text, text, text) IS $$The user with an id or with a username (the other one is NULL), and the hash of its password: one row, or none.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_login(text, text, text);
