-- +goose Up
CREATE TABLE orisun.token_key (
    number     integer     NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE orisun.token_key IS $$The secrets with which the servers sign the tokens of those who logged in. All nodes take tokens under any of them, and sign with the latest.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.token_key;
