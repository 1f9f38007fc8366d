-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.create_user(p_boundary text, p_username text, p_name text, p_roles text[], p_password_hash text, p_metadata jsonb DEFAULT '{}')
RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user_id text := gen_random_uuid();
BEGIN
    PERFORM orisun.project_users(p_boundary);
    IF EXISTS (SELECT FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.username = p_username AND NOT u.deleted) THEN
        RAISE EXCEPTION 'the username % is taken', quote_literal(p_username)
            USING ERRCODE = 'OR021',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'username', p_username)::text,
                  HINT = 'Choose another one, or delete that user first.';
    END IF;
    PERFORM orisun.save_user_event(
        p_boundary,
        jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(jsonb_build_object('key', 'username', 'value', p_username)))),
        'UserCreated',
        jsonb_build_object('user_id', v_user_id, 'username', p_username, 'name', p_name, 'roles', to_jsonb(p_roles)),
        p_metadata);
    INSERT INTO orisun.user_credential (boundary, user_id, password_hash) VALUES (p_boundary, v_user_id, p_password_hash);
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_user(text, text, text, text[], text, jsonb) IS $$Saves the event UserCreated, with who did it in p_metadata, and answers the user, who can log in as soon as this is committed.
What names, roles and passwords look like is the server's matter; p_password_hash is bcrypt's. Its context is all events about the username. Raises
OR021 when the username is taken, OR003 when it was taken meanwhile by hand: begin again.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.create_user(text, text, text, text[], text, jsonb);
