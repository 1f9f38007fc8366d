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

-- name: GetEvents :many
SELECT * FROM orisun.get_events(
    p_boundary       => @boundary::text,
    p_tag_criteria   => @tag_criteria::integer[],
    p_tag_keys       => @tag_keys::text[],
    p_tag_values     => @tag_values::text[],
    p_transaction_id => sqlc.narg('transaction_id')::bigint,
    p_global_id      => sqlc.narg('global_id')::bigint,
    p_inclusive      => @inclusive::boolean,
    p_descending     => @descending::boolean,
    p_count          => @count::integer
);

-- name: GetLatestByCriteria :many
SELECT * FROM orisun.get_latest_by_criteria(p_boundary => @boundary::text, p_criteria => @criteria::jsonb);

-- name: ComposePage :one
SELECT coalesce(orisun.compose_page(
    p_boundary     => @boundary::text,
    p_tag_criteria => @tag_criteria::integer[],
    p_tag_keys     => @tag_keys::text[],
    p_tag_values   => @tag_values::text[],
    p_bound        => @bound::boolean,
    p_descending   => @descending::boolean
), '')::text AS statement;
