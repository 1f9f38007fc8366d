-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.get_events(
    p_boundary       text,
    p_tag_criteria   integer[],
    p_tag_keys       text[],
    p_tag_values     text[],
    p_transaction_id bigint,
    p_global_id      bigint,
    p_inclusive      boolean,
    p_descending     boolean,
    p_count          integer
) RETURNS SETOF orisun.event
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_begin bigint := orisun.page_begin(p_transaction_id, p_global_id, p_inclusive, p_descending);
    v_name  text;
BEGIN
    -- All that a statement is composed from: to compose it anew takes several times as long as to run it. The indexes tell the boundary, too.
    SELECT 'orisun_' || md5(format('read %s %s %s %s %s %s', x.indexes, p_tag_criteria, p_tag_keys, cardinality(p_tag_values), v_begin IS NULL, p_descending))
      INTO v_name
      FROM orisun.boundary b
     CROSS JOIN LATERAL (SELECT ARRAY(SELECT x.indexrelid FROM pg_index x
                                       WHERE x.indrelid = format('%I.%I', b.schema_name, b.name || '_orisun_es_event')::regclass AND x.indisvalid) AS indexes) x
     WHERE b.name = p_boundary AND b.status = 'ACTIVE';
    IF (strpos(current_setting('orisun.kept_statements', true), v_name) > 0) IS NOT TRUE THEN
        v_name := orisun.keep_reading(v_name, p_boundary, p_tag_criteria, p_tag_keys, p_tag_values, v_begin IS NOT NULL, p_descending);
    END IF;
    RETURN QUERY EXECUTE format('EXECUTE %s(%L, %L, %4$L, %5$L, %4$L, %5$L)', v_name, p_tag_values, p_count, p_transaction_id, v_begin);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.get_events(text, integer[], text[], text[], bigint, bigint, boolean, boolean, integer) IS $$One page of a boundary's events, as orisun.get_matching_events describes it. It takes the tags of criteria as arrays, an element each for
a tag, in the order of criteria; no tags are every event.

  p_tag_criteria, p_tag_keys, p_tag_values    the criterion (from 1) that a tag belongs to, key and value

Raises OR001 for an unknown boundary, OR007 for arrays of different lengths or out of order.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.get_events(text, integer[], text[], text[], bigint, bigint, boolean, boolean, integer);
