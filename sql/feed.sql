-- name: GetLastPosition :one
SELECT * FROM orisun.get_last_position(p_boundary => @boundary::text);

-- name: NextEvents :many
SELECT * FROM orisun_boundary.next_events(p_global_id => @global_id::bigint, p_count => @count::integer);

-- name: FollowEvents :many
SELECT * FROM orisun_boundary.follow_events(
    p_criteria       => @criteria::jsonb[],
    p_transaction_id => @transaction_id::bigint,
    p_global_id      => @global_id::bigint,
    p_window         => @scan_window::integer,
    p_count          => @count::integer
);
