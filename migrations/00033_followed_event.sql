-- +goose Up
CREATE TABLE orisun.followed_event (
    LIKE orisun.event,
    matches boolean NOT NULL
);

COMMENT ON TABLE orisun.followed_event IS $$The shape of what orisun.follow_events returns: an event that matches, or, with matches = false and without content,
the place up to which the scan went. It holds no rows.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.followed_event;
