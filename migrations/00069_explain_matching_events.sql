-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.explain_matching_events(
    p_boundary       text,
    p_criteria       jsonb   DEFAULT '[]',
    p_transaction_id bigint  DEFAULT NULL,
    p_global_id      bigint  DEFAULT NULL,
    p_inclusive      boolean DEFAULT true,
    p_descending     boolean DEFAULT false,
    p_count          integer DEFAULT 1000
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    v_begin   bigint := orisun.page_begin(p_transaction_id, p_global_id, p_inclusive, p_descending);
    v_tags    record := orisun.read_tags(p_criteria);
    v_reading record;
    v_json    json;
    v_plan    jsonb;
BEGIN
    v_reading := orisun.compose_reading(p_boundary, v_tags.tag_criteria, v_tags.tag_keys, v_tags.tag_values,
                                        v_begin IS NOT NULL AND NOT p_descending, v_begin IS NOT NULL AND p_descending, p_descending);
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || v_reading.statement INTO v_json
      USING v_tags.tag_values, p_count, p_transaction_id, v_begin, p_transaction_id, v_begin;
    v_plan := v_json -> 0;
    RETURN jsonb_build_object(
        'events', (v_plan #>> '{Plan,Actual Rows}')::numeric::bigint, -- PostgreSQL 18 counts fractions of rows
        'buffers', (v_plan #>> '{Plan,Shared Hit Blocks}')::bigint + (v_plan #>> '{Plan,Shared Read Blocks}')::bigint,
        'planning_ms', v_plan -> 'Planning Time',
        'execution_ms', v_plan -> 'Execution Time',
        'scans', (SELECT jsonb_agg(jsonb_build_object(
                             'criteria', string_to_array(v_reading.scans[s.ordinal], ',')::integer[],
                             'index', s.node ->> 'Index Name',
                             'served', s.ordinal < cardinality(v_reading.scans) OR NOT v_reading.unserved,
                             'events', (s.node ->> 'Actual Rows')::numeric::bigint,
                             'filtered', coalesce(s.node ->> 'Rows Removed by Filter', '0')::numeric::bigint,
                             'buffers', (s.node ->> 'Shared Hit Blocks')::bigint + (s.node ->> 'Shared Read Blocks')::bigint) ORDER BY s.ordinal)
                    FROM jsonb_path_query(v_plan, 'strict $.** ? (exists (@."Relation Name"))') WITH ORDINALITY AS s(node, ordinal)),
        'plan', v_plan);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer) IS $$Runs what orisun.get_matching_events with the same arguments runs, and tells how:

  events, buffers               how many events the page holds, and how many pages of 8 kB were touched for it, cached or not
  planning_ms, execution_ms     what it took
  scans                         one for each index scan: the criteria it looks for (from 1; none for a page of all events), the index, whether that
                                serves them, the events it found, those it read and threw away, and its buffers
  plan                          all of it, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) has it

What is not served is looked for in the order of positions, with the primary key: that scan reads every event until the page is full.

  SELECT jsonb_pretty(orisun.explain_matching_events('orders', '[{"tags": [{"key": "order", "value": "1"}]}]', p_count => 10))$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.explain_matching_events(text, jsonb, bigint, bigint, boolean, boolean, integer);
