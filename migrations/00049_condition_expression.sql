-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.condition_expression(p_event text, p_keys text[], p_operators text[], p_values text[], p_combinator text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '(' || string_agg(
               CASE WHEN c.operator <> '=' AND orisun.try_numeric(c.value) IS NOT NULL
                    THEN format('orisun.try_numeric(%s) %s %L::numeric', orisun.key_expression(p_event, c.key), c.operator, orisun.try_numeric(c.value))
                    ELSE format('%s COLLATE "C" %s %L', orisun.key_expression(p_event, c.key), c.operator, c.value)
               END, CASE p_combinator WHEN 'OR' THEN ' OR ' ELSE ' AND ' END ORDER BY c.ordinal) || ')'
      FROM unnest(p_keys, p_operators, p_values) WITH ORDINALITY AS c(key, operator, value, ordinal)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.condition_expression(text, text[], text[], text[], text) IS $$The conditions of a partial index as SQL, NULL when there are none; p_event stands before the columns: 'e.' in a query, nothing in
an index. orisun.satisfies decides the same for one value.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.condition_expression(text, text[], text[], text[], text);
