-- name: FindUnsafeSettings :one
SELECT orisun.find_unsafe_settings()::text[] AS settings;
