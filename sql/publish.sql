-- name: BeginLeases :exec
SELECT orisun.begin_leases();

-- name: TryLease :one
SELECT orisun.try_lease(
    p_boundary  => @boundary::text,
    p_name      => @name::text,
    p_owner     => @owner::text,
    p_any_owner => @any_owner::boolean,
    p_stand_by  => @stand_by::boolean
)::boolean AS held;

-- name: ReleaseLease :one
SELECT orisun.release_lease(p_boundary => @boundary::text, p_name => @name::text,
                            p_stand_by => @stand_by::boolean)::boolean AS released;

-- name: FindFreeLeases :many
SELECT f.boundary::text AS boundary, f.name::text AS name FROM orisun.find_free_leases() f;

-- name: WatchLeases :many
SELECT orisun.watch_leases(p_silent => @silent::text[])::text AS mark;

-- name: GetPublishedPosition :one
SELECT * FROM orisun.get_published_position(p_boundary => @boundary::text);

-- name: MovePublishedPosition :exec
SELECT orisun.move_published_position(p_boundary => @boundary::text, p_transaction_id => @transaction_id::bigint,
                                      p_global_id => @global_id::bigint);
