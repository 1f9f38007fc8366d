-- +goose Up
CREATE TABLE orisun.event (
    global_id      bigint      NOT NULL PRIMARY KEY,
    transaction_id bigint      NOT NULL,
    date_created   timestamptz NOT NULL DEFAULT clock_timestamp()
        CHECK (date_created BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'),
    event_id       text        NOT NULL UNIQUE CHECK (octet_length(event_id) BETWEEN 1 AND 256),
    event_type     text        NOT NULL CHECK (octet_length(event_type) BETWEEN 1 AND 256),
    data           jsonb       NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    metadata       jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object')
);

COMMENT ON TABLE orisun.event IS
$$The shape of every {schema}.{boundary}_orisun_es_event, and of what the reading functions return. It holds no rows.

A position is the pair (transaction_id, global_id). global_id counts the boundary's events from 0 without
gaps; transaction_id is the same for all events of one save and is the global_id of its last event plus one. So the
order of global_id is the order of positions. Events are never updated.$$;

CREATE TABLE orisun.last_published_event_position (
    boundary       text        NOT NULL PRIMARY KEY,
    transaction_id bigint      NOT NULL,
    global_id      bigint      NOT NULL,
    date_updated   timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.last_published_event_position IS
$$The shape of every {schema}.{boundary}_orisun_last_published_event_position: one row, the position up to which the
outbox is published. It holds no rows.$$;

CREATE TABLE orisun.projector_checkpoint (
    name           text        NOT NULL PRIMARY KEY,
    transaction_id bigint      NOT NULL,
    global_id      bigint      NOT NULL,
    date_updated   timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.projector_checkpoint IS
$$The shape of every {schema}.{boundary}_projector_checkpoint: a row for each projector, the position up to which it has
projected. It holds no rows.$$;

-- +goose Down
DROP TABLE orisun.projector_checkpoint;
DROP TABLE orisun.last_published_event_position;
DROP TABLE orisun.event;
