-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.check_shape(p_table regclass, p_shape regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_columns text[];  -- of the table, then of the shape
    v_missing text[];
BEGIN
    SELECT array_agg(c.columns ORDER BY c.ordinal) INTO v_columns
      FROM (SELECT r.ordinal, string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END),
                                         ', ' ORDER BY a.attnum) AS columns
              FROM unnest(ARRAY[p_table, p_shape]) WITH ORDINALITY AS r(relation, ordinal)
              JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum > 0 AND NOT a.attisdropped
             GROUP BY r.ordinal) c;
    SELECT array_agg(m.definition) INTO v_missing
      FROM (SELECT pg_get_constraintdef(c.oid) AS definition FROM pg_constraint c WHERE c.conrelid = p_shape AND c.contype IN ('p', 'u', 'c')
            EXCEPT
            SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c WHERE c.conrelid = p_table AND c.convalidated) m;
    IF v_columns[1] IS DISTINCT FROM v_columns[2] OR v_missing IS NOT NULL THEN
        RAISE EXCEPTION 'table % has another shape than %', p_table, p_shape
            USING ERRCODE = 'OR006',
                  DETAIL = jsonb_build_object('table', p_table, 'columns', v_columns[1], 'missing', v_missing)::text,
                  HINT = format('Give it the columns (%s)%s.', v_columns[2], coalesce(' and ' || array_to_string(v_missing, ', '), ''));
    END IF;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.check_shape(regclass, regclass) IS $$Raises OR006 unless a table has the columns of a shape table, in its order, and at least its keys and checks.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.check_shape(regclass, regclass);
