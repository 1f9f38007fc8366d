-- +goose Up
CREATE TYPE orisun.context AS (
    request integer,
    after   bigint,
    vals    text[]
);

COMMENT ON TYPE orisun.context IS $$A criterion of a save request while it is checked: the values of its tags in the order of its shape's keys, and the
global_id after which no event may match. Inside orisun.save_requests only.$$;

-- +goose Down
DROP TYPE orisun.context;
