-- name: ClaimStore :one
SELECT c.store_id::text AS store_id, c.previous_id::text AS previous_id FROM orisun.claim_store() c;
