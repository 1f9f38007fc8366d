-- +goose Up
CREATE TYPE orisun.context AS (
    request        integer,
    transaction_id bigint,
    global_id      bigint,
    vals           text[]
);

COMMENT ON TYPE orisun.context IS $$A criterion while its latest event is looked for: whose it is (the number of a save's request, or of the criterion itself), the position
after which to look, and the values of its tags in the order of the keys. Inside orisun.save_requests and orisun.get_latest_by_criteria only.$$;

-- +goose Down
DROP TYPE orisun.context;
