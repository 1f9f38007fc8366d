-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.check_index(p_index orisun.boundary_index) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_wrong text := CASE
        WHEN cardinality(p_index.field_keys) NOT BETWEEN 1 AND 5 OR cardinality(p_index.field_types) <> cardinality(p_index.field_keys)
            THEN 'it has one to five fields, each with a type'
        WHEN array_position(p_index.field_keys, NULL) IS NOT NULL OR array_position(p_index.field_types, NULL) IS NOT NULL
            THEN 'no field is NULL'
        WHEN NOT p_index.field_types <@ ARRAY['TEXT', 'NUMERIC', 'BOOLEAN', 'TIMESTAMPTZ']
            THEN 'a field''s type is TEXT, NUMERIC, BOOLEAN or TIMESTAMPTZ'
        WHEN cardinality(p_index.field_keys) <> (SELECT count(DISTINCT f.key) FROM unnest(p_index.field_keys) f(key))
            THEN 'no field comes twice'
        WHEN EXISTS (SELECT FROM unnest(p_index.field_keys, p_index.field_types) f(key, type) WHERE f.key = 'event_type' AND f.type <> 'TEXT')
            THEN 'the event''s type is a TEXT'
        WHEN cardinality(p_index.condition_keys) > 8 OR cardinality(p_index.condition_operators) <> cardinality(p_index.condition_keys)
          OR cardinality(p_index.condition_values) <> cardinality(p_index.condition_keys)
            THEN 'it has at most eight conditions, each with key, operator and value'
        WHEN array_position(p_index.condition_keys || p_index.condition_operators || p_index.condition_values, NULL) IS NOT NULL
            THEN 'no part of a condition is NULL'
        WHEN NOT p_index.condition_operators <@ ARRAY['=', '>', '<', '>=', '<=']
            THEN 'a condition''s operator is = > < >= or <='
        WHEN EXISTS (SELECT FROM unnest(p_index.field_keys || p_index.condition_keys || p_index.condition_values) t(text) WHERE octet_length(t.text) > 256)
          OR '' = ANY (p_index.field_keys || p_index.condition_keys)
            THEN 'a key has 1 to 256 bytes, a condition''s value at most 256'
        WHEN octet_length(array_to_string(p_index.field_keys || p_index.condition_keys || p_index.condition_values, '')) > 2048
            THEN 'its keys and values have at most 2048 bytes together'
        WHEN p_index.combinator NOT IN ('AND', 'OR')
            THEN 'the combinator is AND or OR'
    END;
BEGIN
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the index "%" is malformed: %', p_index.name, v_wrong
            USING ERRCODE = 'OR007', HINT = '\df+ orisun.create_index tells what an index may be.';
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_index(orisun.boundary_index) IS $$Raises OR007 when a definition is none that orisun.create_index can build. The limits keep an entry of the index within the 2,704 bytes of
a b-tree's, and the definition within a row of pg_index, which has no room beside its page.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.check_index(orisun.boundary_index);
