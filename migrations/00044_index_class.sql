-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.index_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1330792777 $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.index_class() IS $$The first key of the advisory locks under which indexes are made and dropped; the second is the boundary's number. The number spells
ORII in ASCII. Two CREATE INDEX CONCURRENTLY on one table would wait for each other's snapshot, so a boundary has one at a time.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.index_class();
