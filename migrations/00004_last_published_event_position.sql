-- +goose Up
CREATE TABLE orisun.last_published_event_position (
    boundary       text        NOT NULL PRIMARY KEY,
    transaction_id bigint      NOT NULL,
    global_id      bigint      NOT NULL,
    date_updated   timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.last_published_event_position IS $$The shape of every {schema}.{boundary}_orisun_last_published_event_position: one row,
the position up to which the outbox is published. It holds no rows.$$;

-- +goose Down
DROP TABLE orisun.last_published_event_position;
