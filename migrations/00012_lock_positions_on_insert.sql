-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_positions_on_insert() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM orisun.lock_positions(TG_ARGV[0]::integer);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_positions_on_insert() IS $$The statement trigger of every event table: an INSERT by hand, too, draws its positions under the boundary's lock.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lock_positions_on_insert();
