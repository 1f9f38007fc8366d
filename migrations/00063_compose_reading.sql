-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_reading(
    p_boundary   text,
    p_criteria   jsonb,
    p_lower      boolean,
    p_upper      boolean,
    p_descending boolean,
    OUT statement text,
    OUT vals      text[],
    OUT scans     text[],
    OUT unserved  boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[];
    v_chosen     orisun.boundary_index[];
    v_order      text     := CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END;
    v_range      text     := 'true';
    v_statements text[]   := '{}';
    v_unserved   text[]   := '{}';
    v_numbers    text[]   := '{}';
    v_predicate  text;
    v_criterion  record;
BEGIN
    IF p_lower THEN
        v_range := '(e.transaction_id, e.global_id) >= ($3, $4)';
    END IF;
    IF p_upper THEN
        v_range := v_range || ' AND (e.transaction_id, e.global_id) <= ($5, $6)';
    END IF;
    vals := '{}';
    scans := '{}';
    unserved := false;
    FOR v_criterion IN SELECT c.criterion, c.keys, c.vals FROM orisun.read_criteria(p_criteria) c LOOP
        v_indexes := coalesce(v_indexes, orisun.find_indexes(p_boundary));
        v_chosen := orisun.choose_indexes(v_indexes, v_criterion.keys, v_criterion.vals);
        v_predicate := orisun.criterion_predicate(v_criterion.keys, '$1', cardinality(vals));
        IF v_chosen = '{}' THEN
            unserved := true;
            v_unserved := v_unserved || v_predicate;
            v_numbers := v_numbers || v_criterion.criterion::text;
        ELSE
            v_statements := v_statements || format('(SELECT e.* FROM %1$s e WHERE %2$s AND %3$s AND %4$s ORDER BY e.transaction_id %5$s, e.global_id %5$s LIMIT $2)',
                v_events, v_range, v_predicate, orisun.index_predicate(v_chosen, v_criterion.keys, '$1', cardinality(vals)), v_order);
            scans := scans || v_criterion.criterion::text;
        END IF;
        vals := vals || v_criterion.vals;
        IF v_criterion.keys = '{}' THEN -- every event matches, so the other criteria add none
            v_statements := '{}';
            v_unserved := ARRAY['true'];
            v_numbers := ARRAY[v_criterion.criterion::text];
            scans := '{}';
            unserved := false;
            EXIT;
        END IF;
    END LOOP;

    -- What no index serves is one scan of the primary key, which holds the order of positions too.
    IF v_unserved <> '{}' OR v_statements = '{}' THEN
        v_range := 'true';
        IF p_lower THEN
            v_range := 'e.global_id >= ' || orisun.bound_expression(v_events, '$3', '$4');
        END IF;
        IF p_upper THEN
            v_range := v_range || ' AND e.global_id < ' || orisun.bound_expression(v_events, '$5', '(least($6, 9223372036854775806) + 1)');
        END IF;
        v_statements := v_statements || format('(SELECT e.* FROM %s e WHERE %s AND (%s) ORDER BY e.global_id %s LIMIT $2)',
            v_events, v_range, coalesce(nullif(array_to_string(v_unserved, ' OR '), ''), 'true'), v_order);
        scans := scans || array_to_string(v_numbers, ',');
    END IF;
    statement := CASE
        WHEN cardinality(v_statements) = 1 THEN v_statements[1]
        -- An event that matches several criteria comes out of several scans, side by side after the merge.
        ELSE format('SELECT DISTINCT ON (e.transaction_id, e.global_id) e.* FROM (%1$s) e ORDER BY e.transaction_id %2$s, e.global_id %2$s LIMIT $2',
                    array_to_string(v_statements, ' UNION ALL '), v_order)
    END;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_reading(text, jsonb, boolean, boolean, boolean) IS $$The statement that reads a page of events which match criteria. Its parameters are orisun.reading_types():

  $1      vals, the values of the tags
  $2      the page's length
  $3, $4  the position from which on to read, included, if there is such a bound (p_lower)
  $5, $6  the position up to which to read, included, if there is such a bound (p_upper)

scans tells, for each scan in it, the numbers of the criteria that it looks for; unserved, whether the last of them reads events that no index has chosen.

A criterion that indexes serve is a scan of its own, ordered by the pair (transaction_id, global_id), which only those indexes end with. So the planner
cannot mistake the primary key for a way to it, and walk back through all events that do not match. The others share one scan of the primary key.
Whoever runs the statement forbids plans that read all matches to sort them: SET enable_seqscan, enable_bitmapscan, enable_sort = off.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_reading(text, jsonb, boolean, boolean, boolean);
