-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_auth_state(p_boundary text) RETURNS SETOF orisun.auth_state
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT coalesce((SELECT c.global_id FROM %s c WHERE c.name = 'users'), -1), coalesce((SELECT max(k.number) FROM orisun.token_key k), 0)
        $sql$, orisun.find_boundary_table(p_boundary, '_projector_checkpoint'));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_auth_state(text) IS $$What tells a server in one look whether anything it remembers of users and keys is old: version is up to which event users are projected, so it moves
in the transaction that changes a user; token_key is the number of the latest key. Raises OR001 for an unknown boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_auth_state(text);
