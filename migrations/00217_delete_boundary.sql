-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.delete_boundary(p_boundary text, p_admin_boundary text, p_actor text) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_boundary orisun.boundary;
    v_events   bigint := 0;
BEGIN
    PERFORM orisun.lock_positions(0);
    -- The boundary, its subscriptions, then tables: in this order their changes lock, too.
    SELECT b.* INTO v_boundary FROM orisun.boundary b WHERE b.name = p_boundary FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM orisun.find_boundary(p_boundary); -- which says so
    ELSIF p_boundary = p_admin_boundary THEN
        RAISE EXCEPTION 'boundary % holds the users and is not deleted', quote_literal(p_boundary)
            USING ERRCODE = 'OR012',
                  DETAIL = jsonb_build_object('boundary', p_boundary)::text,
                  HINT = 'Delete users one by one; to begin from nothing, use a new database.';
    ELSIF NOT pg_try_advisory_xact_lock(orisun.index_class(), v_boundary.number) THEN
        RAISE EXCEPTION 'another session makes or drops an index of boundary %', quote_literal(p_boundary)
            USING ERRCODE = 'OR011', HINT = 'Wait until it is done.';
    END IF;
    PERFORM FROM orisun.subscription s WHERE s.boundary = p_boundary ORDER BY s.name FOR UPDATE;
    -- Saves in flight end first, later ones find no boundary.
    PERFORM orisun.lock_positions(v_boundary.number);
    IF orisun.has_events_table(v_boundary) THEN
        EXECUTE format('SELECT coalesce(max(e.global_id) + 1, 0) FROM %I.%I e', v_boundary.schema_name,
                       v_boundary.name || '_orisun_es_event') INTO v_events;
    END IF;
    PERFORM orisun.drop_boundary_tables(v_boundary);
    DELETE FROM orisun.boundary b WHERE b.name = p_boundary;
    PERFORM orisun.insert_events_with_consistency(p_admin_boundary, '{}', jsonb_build_array(
        orisun.make_admin_event('BoundaryDeleted', jsonb_build_object(
            'boundary', p_boundary, 'events', v_events,
            'placement', jsonb_build_object('backend', 'postgres', 'namespace', v_boundary.schema_name)), p_actor)));
    RETURN v_events;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.delete_boundary(text, text, text) IS
$$Deletes a boundary with all of its events, tables, functions and indexes, and returns how many events it had. The
schema stays. The admin boundary's log gets BoundaryDeleted with the actor, in the same transaction. Servers stop to
publish it within a second, end its subscriptions and delete its stream. A boundary whose tables are gone already is
removed from the registry. One that a server's configuration names is created again, empty, at that server's next start.

Raises OR001 for an unknown boundary, OR012 for the admin boundary, OR011 while an index is made or dropped.

  SELECT orisun.delete_boundary('orders', 'orisun_admin', current_user)$$;

-- +goose Down
DROP FUNCTION orisun.delete_boundary(text, text, text);
