-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.delete_user(p_boundary text, p_user_id text, p_metadata jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    PERFORM orisun.save_user_event(
        p_boundary,
        jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(jsonb_build_object('key', 'user_id', 'value', p_user_id)))),
        'UserDeleted',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username),
        p_metadata);
    DELETE FROM orisun.user_credential c WHERE c.boundary = p_boundary AND c.user_id = p_user_id;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.delete_user(text, text, jsonb) IS $$Saves the event UserDeleted. The user cannot log in any more, all its tokens are void, its username is free again; the events about it stay. Raises OR020 for
an unknown user, OR003 when the user was changed meanwhile by hand: begin again.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.delete_user(text, text, jsonb);
