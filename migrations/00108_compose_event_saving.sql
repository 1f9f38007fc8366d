-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_event_saving(p_boundary text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $compose$
DECLARE
    v_boundary record := orisun.find_boundary(p_boundary);
    v_indexes  orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_shape    record;
    v_shapes   text := '';
    v_insert   text := format($sql$
            INSERT INTO %1$s (global_id, transaction_id, date_created, event_id, event_type, data, metadata)
            SELECT l.next, l.next + 1, clock_timestamp(), p_event_id, p_event_type, p_data, p_metadata
              FROM (SELECT coalesce((SELECT e.global_id + 1 FROM %1$s e ORDER BY e.global_id DESC LIMIT 1), 0)) AS l(next)
             WHERE NOT EXISTS (SELECT FROM %1$s e WHERE e.event_id = p_event_id ORDER BY e.event_id LIMIT 1)$sql$, v_boundary.events);
    v_answer   text := $sql$
            RETURNING 1, 'saved', transaction_id, global_id INTO v_result;$sql$;
BEGIN
    FOR v_shape IN
        SELECT DISTINCT ON (k.keys) k.keys, c.chosen
          FROM unnest(v_indexes) i
         CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.key FROM unnest(i.field_keys) AS f(key) ORDER BY f.key COLLATE "C") AS keys) k
         CROSS JOIN LATERAL (SELECT orisun.choose_indexes(v_indexes, k.keys, NULL) AS chosen) c
         WHERE NOT EXISTS (SELECT FROM unnest(c.chosen) d WHERE d.depends_on_values)
         ORDER BY k.keys
    LOOP
        v_shapes := v_shapes || format($sql$
        ELSIF p_tag_keys = %L THEN$sql$, v_shape.keys) || v_insert || format($sql$
               AND (v_anew OR (SELECT e.transaction_id FROM %1$s e WHERE e.global_id = p_expected_global_id ORDER BY e.global_id LIMIT 1) = p_expected_transaction_id)
               AND NOT EXISTS (SELECT FROM %1$s e
                                WHERE (e.transaction_id, e.global_id) > (v_transaction_id, v_global_id) AND %2$s AND %3$s
                                ORDER BY e.transaction_id DESC, e.global_id DESC LIMIT 1)$sql$,
            v_boundary.events, orisun.criterion_predicate(v_shape.keys, 'p_tag_values', 0), orisun.index_predicate(v_shape.chosen, v_shape.keys, 'p_tag_values', 0)) || v_answer;
    END LOOP;

    RETURN format($template$
CREATE OR REPLACE FUNCTION %s(
    p_expected_transaction_id bigint,
    p_expected_global_id      bigint,
    p_tag_keys                text[],
    p_tag_values              text[],
    p_event_id                text,
    p_event_type              text,
    p_data                    jsonb,
    p_metadata                jsonb
) RETURNS orisun.save_result
LANGUAGE plpgsql VOLATILE
AS %L
$template$, orisun.saving_function(p_boundary, 'event'), format($body$
DECLARE
    v_anew           boolean := (p_expected_transaction_id, p_expected_global_id) IN ((-1, -1), (0, 0)); -- expects no event
    v_transaction_id bigint  := CASE WHEN v_anew THEN -1 ELSE p_expected_transaction_id END;
    v_global_id      bigint  := CASE WHEN v_anew THEN -1 ELSE p_expected_global_id END;
    v_released       text;
    v_result         orisun.save_result;
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM pg_advisory_xact_lock(%2$s, %1$s), set_config('orisun.locked_boundary', '%1$s', true);
        IF p_tag_keys IS NULL THEN%3$s%4$s
        END IF;
        v_released := set_config('orisun.locked_boundary', '', true); -- costs less than PERFORM
    END IF;
    IF v_result.request IS NULL THEN
        SELECT r.* INTO v_result
          FROM %5$s(ARRAY[p_expected_transaction_id], ARRAY[p_expected_global_id],
                    CASE WHEN p_tag_keys IS NULL THEN '{}' ELSE ARRAY[1] END, array_fill(1, ARRAY[coalesce(cardinality(p_tag_keys), 0)]),
                    coalesce(p_tag_keys, '{}'), coalesce(p_tag_values, '{}'),
                    ARRAY[1], ARRAY[p_event_id], ARRAY[p_event_type], ARRAY[p_data], ARRAY[p_metadata]) r;
    END IF;
    RETURN v_result;
END
$body$, v_boundary.number, orisun.lock_class(), v_insert || v_answer, v_shapes, orisun.saving_function(p_boundary, 'requests')));
END
$compose$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_event_saving(text) IS $$The CREATE FUNCTION of a boundary's own {schema}.{boundary}_orisun_save_event: a save that comes alone, of one event with at most one criterion, at a third of
what the boundary's save_requests takes for it. It does itself what is plain: a save that succeeds, without a criterion (p_tag_keys is NULL) or with the very
fields of indexes that serve all values, in the order of their bytes. All else it hands on, and so do saves that do not succeed: what to answer is known in
one place.

The indexes are those of when it was made, and orisun.finish_indexing makes it anew when they changed. One that is gone without that makes its saves slow, not wrong. Settings as for
orisun.compose_saving.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_event_saving(text);
