-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.find_unsafe_settings() RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(SELECT s.name FROM unnest(ARRAY['fsync', 'full_page_writes', 'synchronous_commit']) AS s(name)
                  WHERE current_setting(s.name) = 'off')
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.find_unsafe_settings() IS
$$Those of fsync, full_page_writes and synchronous_commit that are off in this session: with any of them off, a crash of
PostgreSQL or of its machine may lose events that were acknowledged.

  SELECT orisun.find_unsafe_settings()$$;

-- +goose Down
DROP FUNCTION orisun.find_unsafe_settings();
