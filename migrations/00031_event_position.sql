-- +goose Up
CREATE TABLE orisun.event_position (
    transaction_id bigint NOT NULL,
    global_id      bigint NOT NULL
);

COMMENT ON TABLE orisun.event_position IS $$The shape of what orisun.get_last_position returns: the position of an event. It holds no rows.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.event_position;
