-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_latest(p_events regclass, p_indexes orisun.boundary_index[], p_keys text[], p_contexts text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_predicate text := orisun.criterion_predicate(p_keys, 'c.vals', 0);
BEGIN
    RETURN format(CASE p_indexes WHEN '{}' THEN $sql$
        SELECT e.*, c.request
          FROM unnest(%1$s) AS c
         CROSS JOIN LATERAL (SELECT e.* FROM %2$s e
                              WHERE %3$s
                              ORDER BY e.global_id DESC LIMIT 1) e
        $sql$ ELSE $sql$
        SELECT e.*, c.request
          FROM unnest(%1$s) AS c
         CROSS JOIN LATERAL (SELECT e.* FROM %2$s e
                              WHERE %3$s AND %4$s
                              ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1) e
        $sql$ END, p_contexts, p_events, v_predicate, orisun.index_predicate(p_indexes, p_keys, 'c.vals', 0));
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_latest(regclass, orisun.boundary_index[], text[], text) IS $$The statement that finds, for each of many contexts with the same keys (p_contexts, the SQL of an orisun.context[]), the latest event
that matches. With indexes, as orisun.split_contexts gives them, the order is by the pair, which the primary key does not have: see
orisun.compose_reading. Without, it reads all events, from the last one back to a match.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_latest(regclass, orisun.boundary_index[], text[], text);
