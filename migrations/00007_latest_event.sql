-- +goose Up
CREATE TABLE orisun.latest_event (
    LIKE orisun.event,
    criterion integer NOT NULL
);

COMMENT ON TABLE orisun.latest_event IS $$The shape of what orisun.get_latest_by_criteria returns: an event and which criterion (from 1) it is the latest of.
It holds no rows.$$;

-- +goose Down
DROP TABLE orisun.latest_event;
