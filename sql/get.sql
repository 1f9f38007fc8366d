-- name: ReadPage :many
SELECT * FROM orisun_boundary.read_page(
    p_criteria             => @criteria::jsonb[],
    p_after_transaction_id => sqlc.narg('after_transaction_id')::bigint,
    p_after_global_id      => sqlc.narg('after_global_id')::bigint,
    p_end_transaction_id   => sqlc.narg('end_transaction_id')::bigint,
    p_end_global_id        => sqlc.narg('end_global_id')::bigint,
    p_descending           => @descending::boolean,
    p_count                => @count::integer
);

-- name: ReadAll :many
SELECT * FROM orisun_boundary.read_all(
    p_after_transaction_id => sqlc.narg('after_transaction_id')::bigint,
    p_after_global_id      => sqlc.narg('after_global_id')::bigint,
    p_end_transaction_id   => sqlc.narg('end_transaction_id')::bigint,
    p_end_global_id        => sqlc.narg('end_global_id')::bigint,
    p_descending           => @descending::boolean,
    p_count                => @count::integer
);

-- name: ReadFirstOfEach :many
SELECT * FROM orisun_boundary.first_of_each(
    p_criteria   => @criteria::jsonb[],
    p_descending => @descending::boolean,
    p_count      => @count::integer
);

-- name: ExplainPage :one
SELECT orisun.explain_page(
    p_boundary             => @boundary::text,
    p_criteria             => @criteria::jsonb[],
    p_after_transaction_id => sqlc.narg('after_transaction_id')::bigint,
    p_after_global_id      => sqlc.narg('after_global_id')::bigint,
    p_end_transaction_id   => sqlc.narg('end_transaction_id')::bigint,
    p_end_global_id        => sqlc.narg('end_global_id')::bigint,
    p_descending           => @descending::boolean,
    p_count                => @count::integer
)::jsonb AS explanation;

-- name: GetMatchingEvents :many
SELECT * FROM orisun.get_matching_events(
    p_boundary       => @boundary::text,
    p_criteria       => @criteria::jsonb,
    p_transaction_id => sqlc.narg('transaction_id')::bigint,
    p_global_id      => sqlc.narg('global_id')::bigint,
    p_inclusive      => @inclusive::boolean,
    p_descending     => @descending::boolean,
    p_count          => @count::integer
);
