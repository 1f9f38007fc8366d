-- +goose Up
CREATE TABLE orisun.auth_state (
    version   bigint  NOT NULL,
    token_key integer NOT NULL
);

COMMENT ON TABLE orisun.auth_state IS $$The shape of what orisun.get_auth_state returns. It holds no rows.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.auth_state;
