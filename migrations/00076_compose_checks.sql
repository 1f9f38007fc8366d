-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.compose_checks(p_boundary text, p_name text, p_keys text[], p_contexts orisun.context[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_events     regclass := (orisun.find_boundary(p_boundary)).events;
    v_indexes    orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_depends    boolean  := EXISTS (SELECT FROM unnest(orisun.choose_indexes(v_indexes, p_keys, NULL)) i WHERE i.depends_on_values);
    v_checks     text[]   := '{}';
    v_name       text     := p_name;
    v_part       record;
    v_statement  text;
BEGIN
    FOR v_part IN SELECT p.indexes, p.contexts FROM orisun.split_contexts(v_indexes, p_keys, p_contexts) p LOOP
        IF v_part.indexes = '{}' AND p_keys <> '{}' AND cardinality(v_part.contexts) > 1 THEN
            -- A join, whose best plan is another one for each number of events to read.
            v_checks := v_checks || orisun.compose_tail_check(v_events, p_keys, format('%L::orisun.context[]', v_part.contexts));
            CONTINUE;
        END IF;
        v_statement := orisun.compose_check(v_events, v_part.indexes, p_keys);
        IF v_depends THEN
            v_name := 'orisun_' || md5(v_statement);
        END IF;
        PERFORM orisun.keep_statement(v_name, 'orisun.context[]', v_statement);
        v_checks := v_checks || format('EXECUTE %I(%L)', v_name, v_part.contexts);
    END LOOP;
    RETURN v_checks;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.compose_checks(text, text, text[], orisun.context[]) IS $$The statements, to be executed one after the other, that find for contexts with the same keys what orisun.compose_check says. Where the
choice of indexes does not depend on values it is one, kept under p_name: who finds p_name kept need not ask.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.compose_checks(text, text, text[], orisun.context[]);
