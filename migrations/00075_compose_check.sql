-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_check(p_events regclass, p_indexes orisun.boundary_index[], p_keys text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_predicate text := orisun.criterion_predicate(p_keys, 'c.vals', 0);
BEGIN
    IF p_indexes <> '{}' THEN
        RETURN format($sql$
            SELECT c.request, e.transaction_id, e.global_id
              FROM unnest($1) AS c
             CROSS JOIN LATERAL (SELECT e.transaction_id, e.global_id FROM %s e
                                  WHERE (e.transaction_id, e.global_id) > (c.transaction_id, c.global_id) AND %s AND %s
                                  ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1) e
            $sql$, p_events, v_predicate, orisun.index_predicate(p_indexes, p_keys, 'c.vals', 0));
    END IF;
    RETURN format($sql$
        SELECT c.request, e.transaction_id, e.global_id
          FROM unnest($1) AS c
         CROSS JOIN LATERAL (SELECT e.transaction_id, e.global_id FROM %s e
                              WHERE e.global_id > c.global_id AND %s
                              ORDER BY e.global_id DESC LIMIT 1) e
        $sql$, p_events, v_predicate);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_check(regclass, orisun.boundary_index[], text[]) IS $$The statement that finds, for contexts with the same keys ($1, orisun.context[]), the position of the latest event after the expected
one that matches. With indexes, as orisun.split_contexts gives them, the order is by the pair, which the primary key does not have: see
orisun.compose_reading. Without, it reads the events after the position, from the last one back to a match.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_check(regclass, orisun.boundary_index[], text[]);
