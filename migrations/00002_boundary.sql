-- +goose Up
CREATE TABLE orisun.boundary (
    name        text        NOT NULL PRIMARY KEY,
    number      integer     NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    schema_name text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.boundary IS $$The registry of boundaries: which exist and in which schema their tables live.
Rows come from orisun.initialize_boundary_tables.$$;
COMMENT ON COLUMN orisun.boundary.number IS $$The second key of the boundary's advisory lock (the first is orisun.lock_class()).$$;

-- +goose Down
DROP TABLE orisun.boundary;
