-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.project_users(p_boundary text, p_count integer DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events      regclass := (orisun.find_boundary(p_boundary)).events;
    v_checkpoints regclass := orisun.find_boundary_table(p_boundary, '_projector_checkpoint');
    v_idle        boolean;
    v_new         integer;
    v_after       bigint;
    v_transaction bigint;
    v_event       orisun.event;
    v_user_id     text;
    v_count       integer  := 0;
BEGIN
    IF p_count IS NOT NULL THEN
        -- Whoever looks every second neither locks nor writes where there is nothing to do.
        EXECUTE format('SELECT EXISTS (SELECT FROM %s c WHERE c.name = ''users'' AND NOT EXISTS (SELECT FROM %s e WHERE e.global_id > c.global_id))',
                       v_checkpoints, v_events)
           INTO v_idle;
        IF v_idle THEN
            RETURN 0;
        END IF;
    END IF;
    EXECUTE format('INSERT INTO %s (name, transaction_id, global_id) VALUES (''users'', -1, -1) ON CONFLICT (name) DO NOTHING', v_checkpoints);
    GET DIAGNOSTICS v_new = ROW_COUNT;
    IF v_new = 1 THEN
        DELETE FROM orisun.user_account u WHERE u.boundary = p_boundary;
    END IF;
    -- Who projects at the same time waits here, and then sees what the other one did: each event is applied once.
    EXECUTE format('SELECT c.global_id FROM %s c WHERE c.name = ''users'' FOR UPDATE', v_checkpoints) INTO v_after;

    FOR v_event IN EXECUTE format('SELECT e.* FROM %s e WHERE e.global_id > $1 ORDER BY e.global_id LIMIT $2', v_events) USING v_after, p_count LOOP
        v_count := v_count + 1;
        v_transaction := v_event.transaction_id;
        v_after := v_event.global_id;
        v_user_id := v_event.data ->> 'user_id';
        CONTINUE WHEN v_user_id IS NULL;
        CASE v_event.event_type
        WHEN 'UserCreated' THEN
            INSERT INTO orisun.user_account (boundary, user_id, username, name, roles, epoch, created_at, updated_at)
            VALUES (p_boundary, v_user_id, coalesce(v_event.data ->> 'username', ''), coalesce(v_event.data ->> 'name', ''), orisun.read_roles(v_event.data),
                    v_event.global_id, v_event.date_created, v_event.date_created)
            ON CONFLICT (boundary, user_id) DO NOTHING;
        WHEN 'UserPasswordChanged' THEN
            UPDATE orisun.user_account u SET epoch = v_event.global_id, updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        WHEN 'UserRolesChanged' THEN
            UPDATE orisun.user_account u SET roles = orisun.read_roles(v_event.data), epoch = v_event.global_id, updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        WHEN 'UserDeleted' THEN
            UPDATE orisun.user_account u SET deleted = true, updated_at = v_event.date_created
             WHERE u.boundary = p_boundary AND u.user_id = v_user_id;
        ELSE
            NULL;
        END CASE;
    END LOOP;
    IF v_count > 0 THEN
        EXECUTE format('UPDATE %s c SET transaction_id = $1, global_id = $2, date_updated = clock_timestamp() WHERE c.name = ''users''', v_checkpoints)
          USING v_transaction, v_after;
    END IF;
    RETURN v_count;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.project_users(text, integer) IS $$Applies the next p_count events of the admin boundary (without p_count all of them) to orisun.user_account, moves the checkpoint
'users' in {schema}.{boundary}_projector_checkpoint past them in the same transaction, and answers how many there were. Whatever
interrupts it, each event is applied once. Without p_count it also keeps all others who do so waiting until the transaction ends. Without a checkpoint it begins with an empty table and the first event, so this makes the table anew:

  DELETE FROM admin.orisun_admin_projector_checkpoint WHERE name = 'users'
  SELECT orisun.project_users('orisun_admin')

Raises OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.project_users(text, integer);
