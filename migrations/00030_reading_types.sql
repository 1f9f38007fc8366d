-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.reading_types() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'text[], integer, bigint, bigint, bigint, bigint' $$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.reading_types() IS $$The types of the parameters of what orisun.compose_reading composes.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.reading_types();
