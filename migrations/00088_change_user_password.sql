-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.change_user_password(p_boundary text, p_user_id text, p_password_hash text, p_epoch bigint DEFAULT NULL, p_metadata jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account := orisun.find_user(p_boundary, p_user_id);
BEGIN
    IF v_user.epoch <> p_epoch THEN
        RAISE EXCEPTION 'user % was changed meanwhile', quote_literal(p_user_id)
            USING ERRCODE = 'OR003', HINT = 'Look at the user again and decide again.';
    END IF;
    PERFORM orisun.save_user_event(
        p_boundary,
        jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(jsonb_build_object('key', 'user_id', 'value', p_user_id)))),
        'UserPasswordChanged',
        jsonb_build_object('user_id', p_user_id, 'username', v_user.username),
        p_metadata);
    INSERT INTO orisun.user_credential AS c (boundary, user_id, password_hash)
    VALUES (p_boundary, p_user_id, p_password_hash)
    ON CONFLICT (boundary, user_id) DO UPDATE SET password_hash = EXCLUDED.password_hash;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.change_user_password(text, text, text, bigint, jsonb) IS $$Saves the event UserPasswordChanged and the hash of the new password; all tokens of the user are void from then on. p_epoch is that of
the user whose present password was checked. Raises OR020 for an unknown user, OR003 when the user was changed meanwhile.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.change_user_password(text, text, text, bigint, jsonb);
