-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.lock_positions_on_insert() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    v_last   bigint;
BEGIN
    PERFORM orisun.lock_positions(TG_ARGV[0]::integer);
    EXECUTE format('SELECT max(e.global_id) FROM %s e', v_events) INTO v_last;
    PERFORM setval(pg_get_serial_sequence(v_events, 'global_id'), coalesce(v_last, 0), v_last IS NOT NULL);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.lock_positions_on_insert() IS $$The statement trigger of every event table: an INSERT by hand, too, draws its positions under the boundary's lock. Its rows take them
from the sequence, which is set to where the table ends: saves go by the table alone.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.lock_positions_on_insert();
