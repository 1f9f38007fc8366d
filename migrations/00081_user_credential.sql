-- +goose Up
CREATE TABLE orisun.user_credential (
    boundary      text NOT NULL,
    user_id       text NOT NULL,
    password_hash text NOT NULL,
    PRIMARY KEY (boundary, user_id)
);

COMMENT ON TABLE orisun.user_credential IS $$The hashes of passwords (bcrypt). They stand beside the events, not in them, since events are read, subscribed to and
published; each is written in the transaction that saves the event of its change, and goes with its user.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.user_credential;
