-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.change_user_roles(p_boundary text, p_user_id text, p_roles text[], p_metadata jsonb DEFAULT '{}') RETURNS SETOF orisun.user_account
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    PERFORM orisun.save_user_event(
        p_boundary,
        jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(jsonb_build_object('key', 'user_id', 'value', p_user_id)))),
        'UserRolesChanged',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username, 'roles', to_jsonb(p_roles)),
        p_metadata);
    RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.change_user_roles(text, text, text[], jsonb) IS $$Saves the event UserRolesChanged and answers the user; all tokens of the user are void from then on. Raises OR020 for an unknown user, OR003
when the user was changed meanwhile by hand: begin again.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.change_user_roles(text, text, text[], jsonb);
