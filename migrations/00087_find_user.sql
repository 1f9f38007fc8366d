-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_user(p_boundary text, p_user_id text) RETURNS orisun.user_account
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_user orisun.user_account;
BEGIN
    PERFORM orisun.project_users(p_boundary);
    SELECT u.* INTO v_user FROM orisun.user_account u WHERE u.boundary = p_boundary AND u.user_id = p_user_id AND NOT u.deleted;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(quote_literal(p_user_id), 'NULL')
            USING ERRCODE = 'OR020',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'user_id', p_user_id)::text,
                  HINT = 'SELECT user_id, username FROM orisun.user_account WHERE NOT deleted lists those who do.';
    END IF;
    RETURN v_user;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_user(text, text) IS $$The user of an id for a change that follows in the same transaction: projects what is not yet, and until the transaction ends no other change of
a user gets in between. Raises OR020 where there is none, or none any more.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.find_user(text, text);
