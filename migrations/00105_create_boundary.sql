-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.create_boundary(
    p_boundary text, p_schema text, p_description text, p_existed_before_catalog boolean, p_admin_boundary text, p_actor text
) RETURNS SETOF orisun.boundary
LANGUAGE plpgsql VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary orisun.boundary;
    v_error    text := '';
    v_hint     text;
    v_saved    record;
BEGIN
    PERFORM orisun.check_boundary_names(p_boundary, p_schema);
    PERFORM orisun.lock_positions(0);

    SELECT b.* INTO v_boundary FROM orisun.boundary b WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF (v_boundary.schema_name, v_boundary.description, v_boundary.existed_before_catalog) = (p_schema, p_description, p_existed_before_catalog) THEN
        RETURN NEXT v_boundary;
        RETURN;
    ELSIF v_boundary.name IS NOT NULL THEN
        RAISE EXCEPTION 'boundary "%" exists already with another definition: schema "%", description %, existed_before_catalog %',
                        p_boundary, v_boundary.schema_name, quote_literal(v_boundary.description), v_boundary.existed_before_catalog
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'schema', v_boundary.schema_name)::text,
                  HINT = 'A boundary does not change: choose another name.';
    END IF;

    v_boundary := orisun.register_boundary(p_boundary, p_schema, p_description, p_existed_before_catalog);
    BEGIN
        PERFORM orisun.make_boundary_tables(v_boundary);
    EXCEPTION WHEN OTHERS THEN
        -- What time heals is no property of the boundary.
        IF SQLSTATE ~ '^(08|40|53|55|57|58|XX)' THEN
            RAISE;
        END IF;
        GET STACKED DIAGNOSTICS v_error = MESSAGE_TEXT, v_hint = PG_EXCEPTION_HINT;
        v_error := concat_ws('. ', v_error, nullif(v_hint, ''));
    END;

    SELECT r.* INTO STRICT v_saved
      FROM orisun.save_requests(
               p_boundary => p_admin_boundary,
               p_expected_transaction_ids => '{-1}', p_expected_global_ids => '{-1}',
               p_criterion_requests => '{}', p_tag_criteria => '{}', p_tag_keys => '{}', p_tag_values => '{}',
               p_event_requests => '{1,1}',
               p_event_ids => ARRAY[gen_random_uuid(), gen_random_uuid()]::text[],
               p_event_types => ARRAY['BoundaryDefined', CASE v_error WHEN '' THEN 'BoundaryActivated' ELSE 'BoundaryFailed' END],
               p_data => ARRAY[
                   jsonb_build_object('boundary', p_boundary, 'description', p_description, 'existed_before_catalog', p_existed_before_catalog,
                                      'placement', jsonb_build_object('backend', 'postgres', 'namespace', p_schema)),
                   jsonb_build_object('boundary', p_boundary) || CASE v_error WHEN '' THEN '{}' ELSE jsonb_build_object('error', v_error) END],
               p_metadata => array_fill(jsonb_build_object('actor', p_actor), '{2}')) r;
    RETURN QUERY
    UPDATE orisun.boundary b
       SET status = CASE v_error WHEN '' THEN 'ACTIVE' ELSE 'FAILED' END, last_error = v_error,
           definition_transaction_id = v_saved.transaction_id, definition_global_id = v_saved.global_id - 1,
           status_transaction_id = v_saved.transaction_id, status_global_id = v_saved.global_id
     WHERE b.name = p_boundary
    RETURNING b.*;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_boundary(text, text, text, boolean, text, text) IS $$Creates a boundary, with its schema where that is missing, and tells the admin boundary's log who did it, all in one transaction:
events BoundaryDefined, then BoundaryActivated or BoundaryFailed. With p_existed_before_catalog it takes over the tables that are there.

The same definition again changes nothing and answers the boundary that there is. A boundary that could not be provisioned is FAILED, with last_error: it
may be created again, with this definition or another one. What time heals (locks, disk space, a lost connection) is raised and leaves nothing.

Raises OR002 for a name, OR006 for a boundary that exists with another definition, OR001 for an unknown admin boundary.

  SELECT * FROM orisun.create_boundary('orders', 'sales', 'Orders of the shop', false, 'orisun_admin', current_user);$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.create_boundary(text, text, text, boolean, text, text);
