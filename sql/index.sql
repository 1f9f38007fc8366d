-- name: CreateIndex :many
SELECT orisun.create_index(
    p_boundary            => @boundary::text,
    p_name                => @name::text,
    p_field_keys          => @field_keys::text[],
    p_field_types         => @field_types::text[],
    p_condition_keys      => @condition_keys::text[],
    p_condition_operators => @condition_operators::text[],
    p_condition_values    => @condition_values::text[],
    p_combinator          => @combinator::text
)::text AS statement;

-- name: DropIndex :many
SELECT orisun.drop_index(p_boundary => @boundary::text, p_name => @name::text)::text AS statement;

-- name: CleanIndexes :many
SELECT orisun.clean_indexes(p_boundary => @boundary::text)::text AS statement;

-- name: LockIndexes :one
SELECT orisun.lock_indexes(p_boundary => @boundary::text)::boolean AS locked;

-- name: ListIndexes :many
SELECT * FROM orisun.list_indexes(p_boundary => @boundary::text);

-- name: CountIndexes :many
SELECT c.boundary::text AS boundary, c.indexes::bigint AS indexes FROM orisun.count_indexes() c;

-- name: IsServed :one
SELECT orisun.is_served(p_boundary => @boundary::text, p_keys => @keys::text[])::boolean AS served;

-- name: FindUnfinishedIndexes :many
SELECT orisun.find_unfinished_indexes()::text AS boundary;

-- name: FindKeys :many
SELECT orisun.find_keys(p_boundary => @boundary::text, p_count => @count::integer)::text AS key;
