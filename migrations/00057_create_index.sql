-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.create_index(
    p_boundary            text,
    p_name                text,
    p_field_keys          text[],
    p_field_types         text[],
    p_condition_keys      text[] DEFAULT '{}',
    p_condition_operators text[] DEFAULT '{}',
    p_condition_values    text[] DEFAULT '{}',
    p_combinator          text   DEFAULT 'AND'
) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events   regclass := (orisun.find_boundary(p_boundary)).events;
    v_schema   text     := (SELECT b.schema_name FROM orisun.boundary b WHERE b.name = p_boundary);
    v_relation text     := format('%I.%I', v_schema, p_boundary || '_' || p_name || '_idx');
    v_new      orisun.boundary_index;
    v_old      orisun.boundary_index;
    v_locked   boolean  := false;
BEGIN
    PERFORM orisun.check_name('index', p_name, 63 - octet_length(p_boundary || '__idx'));
    v_new.boundary := p_boundary;
    v_new.name := p_name;
    v_new.field_keys := array_replace(p_field_keys, 'eventType', 'event_type');
    v_new.field_types := p_field_types;
    v_new.condition_keys := array_replace(p_condition_keys, 'eventType', 'event_type');
    v_new.condition_operators := p_condition_operators;
    v_new.condition_values := p_condition_values;
    v_new.combinator := CASE WHEN cardinality(p_condition_keys) < 2 THEN 'AND' ELSE p_combinator END;
    v_new.field_expressions := ARRAY(SELECT orisun.typed_expression(orisun.key_expression('e.', f.key), f.type)
                                       FROM unnest(v_new.field_keys, v_new.field_types) WITH ORDINALITY AS f(key, type, ordinal) ORDER BY f.ordinal);
    v_new.relation := v_relation;
    v_new.depends_on_values := v_new.condition_keys <> '{}' OR array_remove(v_new.field_types, 'TEXT') <> '{}';
    v_new.condition := orisun.condition_expression('e.', v_new.condition_keys, v_new.condition_operators, v_new.condition_values, v_new.combinator);
    v_new.created_at := clock_timestamp();
    PERFORM orisun.check_index(v_new);

    LOOP
        SELECT i.* INTO v_old FROM orisun.boundary_index i JOIN pg_index x ON x.indexrelid = to_regclass(i.relation) AND x.indisvalid
         WHERE i.boundary = p_boundary AND i.name = p_name;
        IF FOUND THEN
            IF (v_old.field_keys, v_old.field_types, v_old.condition_keys, v_old.condition_operators, v_old.condition_values, v_old.combinator)
               <> (v_new.field_keys, v_new.field_types, v_new.condition_keys, v_new.condition_operators, v_new.condition_values, v_new.combinator) THEN
                RAISE EXCEPTION 'index "%" of boundary "%" exists already with another definition', p_name, p_boundary
                    USING ERRCODE = 'OR010',
                          DETAIL = jsonb_build_object('boundary', p_boundary, 'index', p_name, 'relation', v_relation)::text,
                          HINT = 'Drop it first, or choose another name.';
            END IF;
            IF v_locked THEN
                RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
            END IF;
            RETURN;
        END IF;
        EXIT WHEN v_locked;
        IF NOT orisun.lock_indexes(p_boundary) THEN
            RAISE EXCEPTION 'another session makes or drops an index of boundary "%"', p_boundary
                USING ERRCODE = 'OR011',
                      DETAIL = jsonb_build_object('boundary', p_boundary)::text,
                      HINT = 'Try again when it is done; orisun.list_indexes tells how far it is.';
        END IF;
        v_locked := true; -- and look again: who had the lock may have made this very index
    END LOOP;

    RETURN QUERY SELECT orisun.drop_broken_indexes(p_boundary);
    -- Boundary a's index b_c and boundary a_b's index c would have one name.
    IF coalesce((SELECT i.boundary <> p_boundary FROM orisun.boundary_index i WHERE i.relation = v_relation), to_regclass(v_relation) IS NOT NULL) THEN
        PERFORM orisun.finish_indexing(p_boundary);
        RAISE EXCEPTION 'relation % exists already and is no index of boundary "%"', v_relation, p_boundary
            USING ERRCODE = 'OR010',
                  DETAIL = jsonb_build_object('boundary', p_boundary, 'index', p_name, 'relation', v_relation)::text,
                  HINT = 'Choose another name.';
    END IF;
    DELETE FROM orisun.boundary_index i WHERE i.boundary = p_boundary AND i.name = p_name;
    INSERT INTO orisun.boundary_index SELECT v_new.*;

    -- Criteria on a field match no event without it, so such events need no entry.
    RETURN NEXT (
        SELECT format('CREATE INDEX CONCURRENTLY %I ON %s (%s, transaction_id, global_id)%s', p_boundary || '_' || p_name || '_idx', v_events,
                      string_agg(format('(%s)', orisun.typed_expression(f.expression, f.type)), ', ' ORDER BY f.ordinal),
                      ' WHERE ' || nullif(concat_ws(' AND ', string_agg(f.expression || ' IS NOT NULL', ' AND ' ORDER BY f.ordinal) FILTER (WHERE f.key <> 'event_type'),
                          orisun.condition_expression('', v_new.condition_keys, v_new.condition_operators, v_new.condition_values, v_new.combinator)), ''))
          FROM (SELECT n.key, n.type, n.ordinal, orisun.key_expression('', n.key) AS expression
                  FROM unnest(v_new.field_keys, v_new.field_types) WITH ORDINALITY AS n(key, type, ordinal)) f);
    -- Of an expression the planner knows nothing before the table is analyzed.
    RETURN NEXT format('ANALYZE %s', v_events);
    RETURN NEXT format('SELECT orisun.finish_indexing(%L)', p_boundary);
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.create_index(text, text, text[], text[], text[], text[], text[], text) IS $$Defines an index, named {boundary}_{name}_idx, and answers the statements that build it, to be run one after the other in
this session and in no transaction. No statement: it exists already with this definition. In psql:

  SELECT orisun.create_index('orders', 'user_id', ARRAY['user_id'], ARRAY['TEXT']) \gexec

  p_field_keys, p_field_types                              one to five fields, as keys of tags; TEXT, NUMERIC, BOOLEAN or TIMESTAMPTZ
  p_condition_keys, p_condition_operators,
  p_condition_values                                       the index holds the events for which these conditions hold: = > < >= <=, at most eight
  p_combinator                                             AND: for which all do; OR: for which one does

It serves criteria that have a tag for each of its fields. The position is its last part, so events come out of it in order. While it is built
saves go on. What is left of a build that failed is removed first. Raises OR001 for an unknown boundary, OR002 for the name, OR007 for
a malformed definition, OR010 when the name is taken, OR011 while another session makes or drops an index of the boundary.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.create_index(text, text, text[], text[], text[], text[], text[], text);
