-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.satisfies(p_value text, p_operator text, p_operand text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(
        CASE WHEN p_operator = '=' THEN p_value = p_operand
             WHEN orisun.try_numeric(p_operand) IS NOT NULL THEN
                 CASE p_operator WHEN '>' THEN orisun.try_numeric(p_value) > orisun.try_numeric(p_operand)
                                 WHEN '<' THEN orisun.try_numeric(p_value) < orisun.try_numeric(p_operand)
                                 WHEN '>=' THEN orisun.try_numeric(p_value) >= orisun.try_numeric(p_operand)
                                 WHEN '<=' THEN orisun.try_numeric(p_value) <= orisun.try_numeric(p_operand) END
             ELSE
                 CASE p_operator WHEN '>' THEN p_value COLLATE "C" > p_operand
                                 WHEN '<' THEN p_value COLLATE "C" < p_operand
                                 WHEN '>=' THEN p_value COLLATE "C" >= p_operand
                                 WHEN '<=' THEN p_value COLLATE "C" <= p_operand END
        END, false)
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.satisfies(text, text, text) IS $$Whether a value fulfils an index's condition: what orisun.condition_expression writes as SQL, decided for one value.
  =            compares texts
  > < >= <=    compare numbers when the condition's value is one (orisun.try_numeric), else texts, byte by byte$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.satisfies(text, text, text);
