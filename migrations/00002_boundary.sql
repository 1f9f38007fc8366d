-- +goose Up
CREATE TABLE orisun.boundary (
    name        text        NOT NULL PRIMARY KEY,
    number      integer     NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    schema_name text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    status      text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'FAILED')),
    last_error  text        NOT NULL DEFAULT '',
    existed_before_catalog    boolean NOT NULL DEFAULT false,
    definition_transaction_id bigint,
    definition_global_id      bigint,
    status_transaction_id     bigint,
    status_global_id          bigint
);

COMMENT ON TABLE orisun.boundary IS $$The registry of boundaries: which exist and in which schema their tables live.
Rows come from orisun.initialize_boundary_tables, for those of a server's configuration, and from orisun.create_boundary.$$;
COMMENT ON COLUMN orisun.boundary.status IS $$ACTIVE: it has its tables. FAILED: it has none, and last_error says why; to everything but the registry it does not exist.$$;
COMMENT ON COLUMN orisun.boundary.existed_before_catalog IS $$Its tables were there already and were adopted, with their events.$$;
COMMENT ON COLUMN orisun.boundary.definition_global_id IS $$With definition_transaction_id, where the admin boundary's log tells of the definition, as status_global_id is where it tells
of the status. NULL: the boundary comes from a configuration.$$;
COMMENT ON COLUMN orisun.boundary.number IS $$The second key of the boundary's advisory lock (the first is orisun.lock_class()).$$;

-- +goose Down
DROP TABLE orisun.boundary;
