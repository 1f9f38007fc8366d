-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    v_boundary record;
BEGIN
    IF to_regnamespace('orisun_130') IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO orisun.boundary (name, number, schema_name, description, created_at, status, last_error,
                                 existed_before_catalog,
                                 definition_transaction_id, definition_global_id, status_transaction_id,
                                 status_global_id)
    OVERRIDING SYSTEM VALUE
    SELECT b.name, b.number, b.schema_name, b.description, b.created_at, b.status, b.last_error,
           b.existed_before_catalog,
           b.definition_transaction_id, b.definition_global_id, b.status_transaction_id, b.status_global_id
      FROM orisun_130.boundary b;
    PERFORM setval(pg_get_serial_sequence('orisun.boundary', 'number'), (SELECT max(b.number) FROM orisun.boundary b));
    INSERT INTO orisun.boundary_index (boundary, name, field_keys, field_types, field_expressions, condition_keys,
                                       condition_operators, condition_values,
                                       combinator, relation, condition, created_at)
    SELECT i.boundary, i.name, i.field_keys, i.field_types, i.field_expressions, i.condition_keys,
           i.condition_operators, i.condition_values,
           i.combinator, i.relation, i.condition, i.created_at
      FROM orisun_130.boundary_index i;
    INSERT INTO orisun.user_account (boundary, user_id, username, name, roles, epoch, created_at, updated_at, deleted)
    SELECT u.boundary, u.user_id, u.username, u.name, u.roles, u.epoch, u.created_at, u.updated_at, u.deleted
      FROM orisun_130.user_account u;
    INSERT INTO orisun.user_credential (boundary, user_id, password_hash)
    SELECT c.boundary, c.user_id, c.password_hash FROM orisun_130.user_credential c;
    INSERT INTO orisun.token_key (number, key, created_at) OVERRIDING SYSTEM VALUE
    SELECT k.number, k.key, k.created_at FROM orisun_130.token_key k;
    PERFORM setval(pg_get_serial_sequence('orisun.token_key', 'number'), (SELECT max(k.number) FROM orisun.token_key k))
      WHERE EXISTS (SELECT FROM orisun.token_key);
    FOR v_boundary IN SELECT b.schema_name, b.name, b.number FROM orisun.boundary b WHERE b.status = 'ACTIVE' LOOP
        EXECUTE format('DROP TRIGGER lock_positions ON %I.%I', v_boundary.schema_name,
                       v_boundary.name || '_orisun_es_event');
        EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN global_id SET DEFAULT orisun.draw_position(%s)',
                       v_boundary.schema_name, v_boundary.name || '_orisun_es_event', v_boundary.number);
        PERFORM orisun.clone_functions(v_boundary.name); -- and drops those that return types of the old schema
    END LOOP;
    DROP SCHEMA orisun_130 CASCADE;
END
$$;
-- +goose StatementEnd

-- +goose Down
