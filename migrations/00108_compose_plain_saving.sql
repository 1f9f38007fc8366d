-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_plain_saving(p_boundary text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $compose$
DECLARE
    v_boundary record := orisun.find_boundary(p_boundary);
    v_indexes  orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_shape    record;
    v_wanted   text; -- the values of a request's criterion
    v_given    text; -- what an event has for its keys
    v_shapes   text := '';
    -- Whoever is first in the way keeps all of them from being saved. EXISTS would lose its order, or become a join, by which a kept plan from when the table
    -- held one event reads all of it. Where the table ended tells an answer its request.
    v_insert   text := format($sql$
            RETURN QUERY
            INSERT INTO %1$s AS t (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
            SELECT l.next + n.request - 1, l.next + n.request, l.now, n.event_id, n.event_type, n.data, n.metadata
              FROM (SELECT coalesce((SELECT e.global_id + 1 FROM %1$s e ORDER BY e.global_id DESC LIMIT 1), 0), clock_timestamp()
                     WHERE NOT EXISTS (SELECT FROM unnest(p_event_ids) AS n(event_id)
                                        WHERE (SELECT true FROM %1$s e WHERE e.event_id = n.event_id ORDER BY e.event_id LIMIT 1))
                       AND (v_requests = 1 OR (SELECT count(DISTINCT n.event_id) = v_requests FROM unnest(p_event_ids) AS n(event_id)))$sql$, v_boundary.events);
    v_answer   text := format($sql$) AS l(next, now)
             CROSS JOIN unnest(p_event_ids, p_event_types, p_data, p_metadata) WITH ORDINALITY AS n(event_id, event_type, data, metadata, request)
            RETURNING (t.global_id - coalesce((SELECT e.global_id FROM %1$s e ORDER BY e.global_id DESC LIMIT 1), -1))::integer, 'saved'::text, t.transaction_id, t.global_id;
            v_saved := FOUND;$sql$, v_boundary.events);
BEGIN
    FOR v_shape IN
        SELECT DISTINCT ON (k.keys) k.keys, c.chosen
          FROM unnest(v_indexes) i
         CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.key FROM unnest(i.field_keys) AS f(key) ORDER BY f.key COLLATE "C") AS keys) k
         CROSS JOIN LATERAL (SELECT orisun.choose_indexes(v_indexes, k.keys, NULL) AS chosen) c
         WHERE NOT EXISTS (SELECT FROM unnest(c.chosen) d WHERE d.depends_on_values)
         ORDER BY k.keys
    LOOP
        SELECT format('ARRAY[%s]', string_agg(format('p_tag_values[(r.request - 1) * %s + %s]', cardinality(v_shape.keys), k.tag), ', ' ORDER BY k.tag)),
               format('ARRAY[%s]', string_agg(CASE WHEN k.key = 'event_type' THEN 'n.event_type' ELSE format('n.data ->> %L', k.key) END, ', ' ORDER BY k.tag))
          INTO v_wanted, v_given
          FROM unnest(v_shape.keys) WITH ORDINALITY AS k(key, tag);
        v_shapes := v_shapes || format($sql$
        ELSIF p_tag_keys = %L THEN$sql$, v_shape.keys) || v_insert || format($sql$
                       AND NOT EXISTS (
                           SELECT FROM unnest(p_expected_transaction_ids, p_expected_global_ids) WITH ORDINALITY AS r(transaction_id, global_id, request)
                            CROSS JOIN LATERAL (SELECT (r.transaction_id, r.global_id) IN ((-1, -1), (0, 0)) AS anew, %4$s AS vals) c
                            WHERE NOT c.anew AND (SELECT e.transaction_id FROM %1$s e WHERE e.global_id = r.global_id ORDER BY e.global_id LIMIT 1) IS DISTINCT FROM r.transaction_id
                               OR (SELECT true FROM %1$s e
                                    WHERE (e.transaction_id, e.global_id) > (CASE WHEN c.anew THEN -1 ELSE r.transaction_id END, CASE WHEN c.anew THEN -1 ELSE r.global_id END)
                                      AND %2$s AND %3$s
                                    ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1))
                       AND (v_requests = 1 OR NOT EXISTS (
                           SELECT FROM (SELECT %4$s AS vals, r.request AS watching, NULL AS touching FROM generate_series(1, v_requests) AS r(request)
                                        UNION ALL
                                        SELECT %5$s, NULL, n.request
                                          FROM unnest(p_event_types, p_data) WITH ORDINALITY AS n(event_type, data, request)) g
                            GROUP BY g.vals
                           HAVING max(g.watching) > min(g.touching)))$sql$,
            v_boundary.events, orisun.criterion_predicate(v_shape.keys, 'c.vals', 0), orisun.index_predicate(v_shape.chosen, v_shape.keys, 'c.vals', 0), v_wanted, v_given) || v_answer;
    END LOOP;

    RETURN format($template$
CREATE OR REPLACE FUNCTION %s(
    p_expected_transaction_ids bigint[],
    p_expected_global_ids      bigint[],
    p_tag_keys                 text[],
    p_tag_values               text[],
    p_event_ids                text[],
    p_event_types              text[],
    p_data                     jsonb[],
    p_metadata                 jsonb[]
) RETURNS SETOF orisun.save_result
LANGUAGE plpgsql VOLATILE
AS %L
$template$, orisun.saving_function(p_boundary, 'plain'), format($body$
DECLARE
    v_requests integer := cardinality(p_event_ids);
    v_numbers  integer[];
    v_released text;
    v_saved    boolean := false;
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM pg_advisory_xact_lock(%2$s, %1$s), set_config('orisun.locked_boundary', '%1$s', true);
        IF p_tag_keys IS NULL THEN%3$s%4$s
        END IF;
        v_released := set_config('orisun.locked_boundary', '', true); -- costs less than PERFORM
    END IF;
    IF NOT v_saved THEN
        v_numbers := ARRAY(SELECT generate_series(1, v_requests));
        RETURN QUERY
        SELECT r.*
          FROM %5$s(p_expected_transaction_ids, p_expected_global_ids,
                    CASE WHEN p_tag_keys IS NULL THEN '{}' ELSE v_numbers END,
                    ARRAY(SELECT (t.tag - 1) / cardinality(p_tag_keys) + 1 FROM generate_series(1, cardinality(p_tag_values)) AS t(tag)),
                    ARRAY(SELECT p_tag_keys[(t.tag - 1) %% cardinality(p_tag_keys) + 1] FROM generate_series(1, cardinality(p_tag_values)) AS t(tag)),
                    coalesce(p_tag_values, '{}'), v_numbers, p_event_ids, p_event_types, p_data, p_metadata) r;
    END IF;
END
$body$, v_boundary.number, orisun.lock_class(), v_insert || v_answer, v_shapes, orisun.saving_function(p_boundary, 'requests')));
END
$compose$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_plain_saving(text) IS $$The CREATE FUNCTION of a boundary's own {schema}.{boundary}_orisun_save_plain: saves of one event each, all without a criterion (p_tag_keys is NULL) or
each with one criterion of the same keys, in the order of their bytes; p_tag_values has the values of one after those of the other. It does itself what is plain: saves that all
succeed, without a criterion or with the very fields of indexes that serve all values, in one statement, at half to three quarters of what the boundary's save_requests takes for them. All else it
hands on, and so do saves of which one does not succeed: what to answer is known in one place.

The indexes are those of when it was made, and orisun.finish_indexing makes it anew when they changed. One that is gone without that makes its saves slow, not wrong. Settings as for
orisun.compose_saving.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_plain_saving(text);
