-- +goose Up
CREATE TYPE orisun.context_part AS (
    indexes  orisun.boundary_index[],
    contexts orisun.context[]
);

COMMENT ON TYPE orisun.context_part IS $$Contexts of one shape that the same indexes serve, none perhaps: what orisun.split_contexts answers.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP TYPE orisun.context_part;
