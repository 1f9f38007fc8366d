-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.bootstrap_admin(p_boundary text, p_username text, p_password_hash text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.project_users(p_boundary); -- and keeps every other change of users, on any node, waiting
    IF EXISTS (SELECT FROM orisun.user_account u WHERE u.boundary = p_boundary AND 'admin' = ANY (u.roles) AND NOT u.deleted) THEN
        RETURN false;
    END IF;
    PERFORM orisun.create_user(p_boundary, p_username, p_username, ARRAY['admin'], p_password_hash, '{"actor": "bootstrap"}');
    RETURN true;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.bootstrap_admin(text, text, text) IS $$Creates the first user with role admin, and tells whether it did: not where there is one already. Of several nodes that do so at once, one
does. Raises OR021 when the username is taken by a user who is no admin.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.bootstrap_admin(text, text, text);
