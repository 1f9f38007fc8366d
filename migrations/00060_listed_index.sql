-- +goose Up
CREATE TABLE orisun.listed_index (
    name                text        NOT NULL,
    field_keys          text[]      NOT NULL,
    field_types         text[]      NOT NULL,
    condition_keys      text[]      NOT NULL,
    condition_operators text[]      NOT NULL,
    condition_values    text[]      NOT NULL,
    combinator          text        NOT NULL,
    state               text        NOT NULL,
    phase               text        NOT NULL,
    percent             integer     NOT NULL,
    scans               bigint      NOT NULL,
    size_bytes          bigint      NOT NULL,
    created_at          timestamptz NOT NULL
);

COMMENT ON TABLE orisun.listed_index IS $$The shape of what orisun.list_indexes returns. It holds no rows.

  state             READY, or BUILDING while questions cannot use it yet
  phase, percent    how far a build is: PostgreSQL's name of the phase (pg_stat_progress_create_index), and how much of that phase is done
  scans             how often it was used since PostgreSQL's statistics were reset
  size_bytes        what it takes on disk$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TABLE orisun.listed_index;
