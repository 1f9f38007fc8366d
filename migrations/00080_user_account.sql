-- +goose Up
CREATE TABLE orisun.user_account (
    boundary   text        NOT NULL,
    user_id    text        NOT NULL,
    username   text        NOT NULL,
    name       text        NOT NULL,
    roles      text[]      NOT NULL,
    epoch      bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (boundary, user_id)
);

CREATE INDEX user_account_username_idx ON orisun.user_account (boundary, username) WHERE NOT deleted;

COMMENT ON TABLE orisun.user_account IS $$Who may call: what orisun.project_users makes of the events UserCreated, UserPasswordChanged, UserRolesChanged and UserDeleted of the
admin boundary. It can be thrown away and made anew from them. That a username is unique among those who are not deleted is
no constraint of this table but the context under which orisun.create_user saves.$$;
COMMENT ON COLUMN orisun.user_account.boundary IS $$The admin boundary whose events these are (ORISUN_ADMIN_BOUNDARY).$$;
COMMENT ON COLUMN orisun.user_account.epoch IS $$The global_id of the event that last changed password or roles. Tokens carry it, so that those from before that event are void.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.user_account;
