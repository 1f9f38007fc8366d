-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_tail_check(p_events regclass, p_keys text[], p_contexts text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($sql$
        SELECT c.request, max(e.transaction_id) AS transaction_id, max(e.global_id) AS global_id
          FROM unnest(%1$s) AS c
          JOIN %2$s e ON e.global_id > c.global_id AND %3$s
         WHERE e.global_id > (SELECT min(c.global_id) FROM unnest(%1$s) AS c)
         GROUP BY c.request
        $sql$, p_contexts, p_events, orisun.criterion_predicate(p_keys, 'c.vals', 0))
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_tail_check(regclass, text[], text) IS $$What orisun.compose_check does, for many contexts (an SQL expression) that no index serves: the events after the earliest position are read
once for all of them, not once for each.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_tail_check(regclass, text[], text);
