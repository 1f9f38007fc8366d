-- +goose Up
CREATE TABLE orisun.projector_checkpoint (
    name           text        NOT NULL PRIMARY KEY,
    transaction_id bigint      NOT NULL,
    global_id      bigint      NOT NULL,
    date_updated   timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.projector_checkpoint IS $$The shape of every {schema}.{boundary}_projector_checkpoint: a row for each projector,
the position up to which it has projected. It holds no rows.$$;

-- +goose Down
DROP TABLE orisun.projector_checkpoint;
