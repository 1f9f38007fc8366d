-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.index_predicate(p_indexes orisun.boundary_index[], p_keys text[], p_values text, p_offset integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_keys       text[] := array_replace(p_keys, 'eventType', 'event_type');
    v_predicates text[] := '{}';
    v_index      orisun.boundary_index;
    v_predicate  text;
BEGIN
    FOREACH v_index IN ARRAY p_indexes LOOP
        FOR v_field IN 1 .. cardinality(v_index.field_keys) LOOP
            FOR v_tag IN 1 .. cardinality(v_keys) LOOP
                CONTINUE WHEN v_keys[v_tag] <> v_index.field_keys[v_field];
                v_predicate := v_index.field_expressions[v_field] || ' = '
                            || orisun.typed_expression(format('(%s)[%s]', p_values, p_offset + v_tag), v_index.field_types[v_field]);
                -- Several indexes may have one field.
                CONTINUE WHEN v_predicate = ANY (v_predicates);
                v_predicates := v_predicates || v_predicate;
            END LOOP;
        END LOOP;
        IF v_index.condition IS NOT NULL THEN
            v_predicates := v_predicates || v_index.condition;
        END IF;
    END LOOP;
    RETURN array_to_string(v_predicates, ' AND ');
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.index_predicate(orisun.boundary_index[], text[], text, integer) IS $$What stands beside orisun.criterion_predicate, which takes the same arguments, so that the planner sees that these indexes, as
orisun.choose_indexes chose them, may be used. It excludes no event that the criterion matches.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.index_predicate(orisun.boundary_index[], text[], text, integer);
