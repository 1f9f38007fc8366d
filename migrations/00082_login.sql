-- +goose Up
CREATE TABLE orisun.login (
    user_id       text        NOT NULL,
    username      text        NOT NULL,
    name          text        NOT NULL,
    roles         text[]      NOT NULL,
    epoch         bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    password_hash text        NOT NULL
);

COMMENT ON TABLE orisun.login IS $$The shape of what orisun.find_login returns: a user and the hash of its password, '' where it has none. It holds no rows.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.login;
