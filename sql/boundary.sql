-- name: InitializeBoundaryTables :exec
SELECT orisun.initialize_boundary_tables(p_boundary => @boundary::text, p_schema => @schema::text,
                                         p_description => @description::text);

-- name: CreateBoundary :one
SELECT * FROM orisun.create_boundary(
    p_boundary               => @boundary::text,
    p_schema                 => @schema::text,
    p_description            => @description::text,
    p_existed_before_catalog => @existed_before_catalog::boolean,
    p_admin_boundary         => @admin_boundary::text,
    p_actor                  => @actor::text
);

-- name: ListBoundaries :many
SELECT * FROM orisun.list_boundaries();

-- name: GetBoundary :one
SELECT * FROM orisun.get_boundary(p_boundary => @boundary::text);

-- name: GetBoundarySize :one
SELECT orisun.get_boundary_size(p_boundary => @boundary::text)::bigint AS bytes;

-- name: DeleteBoundary :one
SELECT orisun.delete_boundary(p_boundary => @boundary::text, p_admin_boundary => @admin_boundary::text,
                            p_actor => @actor::text)::bigint AS events;

-- name: FindOpenSchemas :many
SELECT orisun.find_open_schemas()::text AS schema_name;

-- name: FindMissingRights :many
SELECT orisun.find_missing_rights(p_role => current_user::text)::text AS grant_statement;

-- name: FindBoundarySchema :one
SELECT b.schema_name::text AS schema_name FROM orisun.find_boundary(p_boundary => @boundary::text) b;

-- name: FindBlockingSessions :many
SELECT b.pid::integer AS pid, b.username::text AS username, b.application::text AS application,
       b.client::text AS client, b.state::text AS state,
       b.seconds::double precision AS seconds
  FROM orisun.find_blocking_sessions(p_pid => @pid::integer) b;
