-- name: CreateUser :one
SELECT * FROM orisun.create_user(
    p_boundary      => @boundary::text,
    p_username      => @username::text,
    p_name          => @name::text,
    p_roles         => @roles::text[],
    p_password_hash => @password_hash::text,
    p_metadata      => @metadata::jsonb
);

-- name: ChangeUserPassword :one
SELECT * FROM orisun.change_user_password(
    p_boundary      => @boundary::text,
    p_user_id       => @user_id::text,
    p_password_hash => @password_hash::text,
    p_epoch         => sqlc.narg('epoch')::bigint,
    p_metadata      => @metadata::jsonb
);

-- name: EndUserSessions :one
SELECT * FROM orisun.end_user_sessions(
    p_boundary => @boundary::text,
    p_user_id  => @user_id::text,
    p_metadata => @metadata::jsonb
);

-- name: ChangeUserRoles :one
SELECT * FROM orisun.change_user_roles(
    p_boundary => @boundary::text,
    p_user_id  => @user_id::text,
    p_roles    => @roles::text[],
    p_metadata => @metadata::jsonb
);

-- name: SetUserBoundaryPermissions :one
SELECT * FROM orisun.set_user_boundary_permissions(
    p_boundary => @boundary::text,
    p_user_id  => @user_id::text,
    p_in       => @in_boundary::text,
    p_roles    => @roles::text[],
    p_metadata => @metadata::jsonb
);

-- name: DeleteUser :exec
SELECT orisun.delete_user(p_boundary => @boundary::text, p_user_id => @user_id::text, p_metadata => @metadata::jsonb);

-- name: BootstrapAdmin :one
SELECT orisun.bootstrap_admin(p_boundary => @boundary::text, p_username => @username::text,
                              p_password_hash => @password_hash::text)::boolean AS created;

-- name: ListUsers :many
SELECT * FROM orisun.list_users(p_boundary => @boundary::text);

-- name: CountUsers :one
SELECT orisun.count_users(p_boundary => @boundary::text)::bigint AS count;

-- name: FindLogin :one
SELECT * FROM orisun.find_login(p_boundary => @boundary::text, p_user_id => sqlc.narg('user_id')::text,
                                p_username => sqlc.narg('username')::text);

-- name: EndSession :exec
SELECT orisun.end_session(
    p_boundary   => @boundary::text,
    p_user_id    => @user_id::text,
    p_session    => @session::bigint,
    p_expires_in => make_interval(secs => @expires_in_seconds::float8),
    p_limit      => @session_limit::integer
);

-- name: ProjectUsers :one
SELECT orisun.project_users(p_boundary => @boundary::text,
                            p_count => sqlc.narg('count')::integer)::integer AS projected;

-- name: GetTokenKeys :many
SELECT * FROM orisun.get_token_keys();

-- name: GetAuthState :one
SELECT * FROM orisun.get_auth_state(p_boundary => @boundary::text);
