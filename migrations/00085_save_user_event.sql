-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.save_user_event(p_boundary text, p_criteria jsonb, p_event_type text, p_data jsonb, p_metadata jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_seen jsonb;
BEGIN
    -- The decision was made on what is projected: no event of its context may lie after that.
    EXECUTE format('SELECT jsonb_build_object(''transaction_id'', c.transaction_id, ''global_id'', c.global_id) FROM %s c WHERE c.name = ''users''',
                   orisun.find_boundary_table(p_boundary, '_projector_checkpoint'))
       INTO v_seen;
    PERFORM orisun.insert_events_with_consistency(
        p_boundary,
        jsonb_build_object('expected_position', v_seen, 'criteria', p_criteria),
        jsonb_build_array(jsonb_build_object('event_id', gen_random_uuid(), 'event_type', p_event_type, 'data', p_data, 'metadata', p_metadata)));
    PERFORM orisun.project_users(p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.save_user_event(text, jsonb, text, jsonb, jsonb) IS $$Saves an event about a user in the admin boundary, as any save under a context: the criteria, and the position up to which users are projected. Then
projects it, so that whoever sees the event sees the user as well. Call it after orisun.project_users in the same transaction. Raises OR003 when
an event of the context was saved meanwhile: begin again.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.save_user_event(text, jsonb, text, jsonb, jsonb);
