-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.choose_indexes(p_indexes orisun.boundary_index[], p_keys text[], p_values text[]) RETURNS orisun.boundary_index[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_keys   text[] := array_replace(p_keys, 'eventType', 'event_type');
    v_chosen orisun.boundary_index[] := '{}';
    v_index  orisun.boundary_index;
BEGIN
    FOREACH v_index IN ARRAY p_indexes LOOP
        CONTINUE WHEN NOT v_index.field_keys <@ v_keys;
        IF v_index.depends_on_values AND p_values IS NOT NULL THEN
            CONTINUE WHEN EXISTS (
                SELECT FROM unnest(v_index.field_keys, v_index.field_types) AS f(key, type)
                  JOIN unnest(v_keys, p_values) AS t(key, value) ON t.key = f.key
                 WHERE CASE f.type WHEN 'NUMERIC' THEN orisun.try_numeric(t.value) IS NULL
                                   WHEN 'BOOLEAN' THEN orisun.try_boolean(t.value) IS NULL
                                   WHEN 'TIMESTAMPTZ' THEN orisun.try_timestamptz(t.value) IS NULL
                                   ELSE false END);
            CONTINUE WHEN (
                SELECT CASE v_index.combinator WHEN 'OR' THEN NOT bool_or(c.met) ELSE NOT bool_and(c.met) END
                  FROM (SELECT EXISTS (SELECT FROM unnest(v_keys, p_values) AS t(key, value)
                                        WHERE t.key = c.key AND orisun.satisfies(t.value, c.operator, c.value)) AS met
                          FROM unnest(v_index.condition_keys, v_index.condition_operators, v_index.condition_values) AS c(key, operator, value)) c);
        END IF;
        v_chosen := v_chosen || v_index;
    END LOOP;
    RETURN v_chosen;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.choose_indexes(orisun.boundary_index[], text[], text[]) IS $$Those of some indexes that find all events of a criterion with these tags, in the order of positions: each field is the key of a tag,
typed fields understand the tags' values, and the values fulfil the conditions. Without p_values: those that do so for some values.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.choose_indexes(orisun.boundary_index[], text[], text[]);
