-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_reading(
    p_boundary     text,
    p_tag_criteria integer[],
    p_tag_keys     text[],
    p_tag_values   text[],
    p_lower        boolean,
    p_upper        boolean,
    p_descending   boolean,
    OUT statement         text,
    OUT scans             text[],
    OUT unserved          boolean,
    OUT depends_on_values boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
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
    scans := '{}';
    unserved := false;
    depends_on_values := false;
    IF cardinality(p_tag_keys) <> cardinality(p_tag_criteria) OR cardinality(p_tag_values) <> cardinality(p_tag_criteria)
       OR p_tag_criteria <> ARRAY(SELECT t.criterion FROM unnest(p_tag_criteria) AS t(criterion) ORDER BY t.criterion) THEN
        RAISE EXCEPTION 'every tag needs a criterion, a key and a value, and stands with those of its criterion'
            USING ERRCODE = 'OR007', HINT = 'By hand use orisun.get_matching_events.';
    END IF;
    FOR v_criterion IN
        SELECT t.criterion, array_agg(t.key ORDER BY t.ordinal) AS keys, array_agg(t.value ORDER BY t.ordinal) AS vals, min(t.ordinal)::integer - 1 AS before
          FROM unnest(p_tag_criteria, p_tag_keys, p_tag_values) WITH ORDINALITY AS t(criterion, key, value, ordinal)
         GROUP BY t.criterion
         ORDER BY t.criterion
    LOOP
        v_chosen := orisun.choose_indexes(v_indexes, v_criterion.keys, NULL);
        IF EXISTS (SELECT FROM unnest(v_chosen) i WHERE i.depends_on_values) THEN
            depends_on_values := true;
            v_chosen := orisun.choose_indexes(v_chosen, v_criterion.keys, v_criterion.vals);
        END IF;
        v_predicate := orisun.criterion_predicate(v_criterion.keys, '$1', v_criterion.before);
        IF v_chosen = '{}' THEN
            unserved := true;
            v_unserved := v_unserved || v_predicate;
            v_numbers := v_numbers || v_criterion.criterion::text;
        ELSE
            v_statements := v_statements || format('(SELECT e.* FROM %1$s e WHERE %2$s AND %3$s AND %4$s ORDER BY e.transaction_id %5$s, e.global_id %5$s LIMIT $2)',
                v_events, v_range, v_predicate, orisun.index_predicate(v_chosen, v_criterion.keys, '$1', v_criterion.before), v_order);
            scans := scans || v_criterion.criterion::text;
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

COMMENT ON FUNCTION orisun.compose_reading(text, integer[], text[], text[], boolean, boolean, boolean) IS
$$The statement that reads a page of events which match criteria, given as orisun.get_events takes them. Its parameters are orisun.reading_types():

  $1      the values of the tags
  $2      the page's length
  $3, $4  the position from which on to read, included, if there is such a bound (p_lower)
  $5, $6  the position up to which to read, included, if there is such a bound (p_upper)

scans tells, for each scan in it, the numbers of the criteria that it looks for; unserved, whether the last of them reads events that no index has chosen, and
depends_on_values, whether it may be another statement with other values, since typed and partial indexes serve some only. Raises OR001 for an unknown boundary.

A criterion that indexes serve is a scan of its own, ordered by the pair (transaction_id, global_id), which only those indexes end with. So the planner
cannot mistake the primary key for a way to it, and walk back through all events that do not match. The others share one scan of the primary key.
Whoever runs the statement forbids plans that read all matches to sort them: SET enable_seqscan, enable_bitmapscan, enable_sort = off.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_reading(text, integer[], text[], text[], boolean, boolean, boolean);
