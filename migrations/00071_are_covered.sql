-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.are_covered(p_boundary text, p_criteria jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_indexes   orisun.boundary_index[] := orisun.find_indexes(p_boundary);
    v_criterion record;
BEGIN
    FOR v_criterion IN SELECT array_replace(c.keys, 'eventType', 'event_type') AS keys, c.vals FROM orisun.read_criteria(p_criteria) c LOOP
        IF v_criterion.keys <> '{}' AND NOT EXISTS (
               SELECT FROM unnest(orisun.choose_indexes(v_indexes, v_criterion.keys, v_criterion.vals)) i
                WHERE v_criterion.keys <@ (i.field_keys || ARRAY(SELECT c.key FROM unnest(i.condition_keys, i.condition_operators) AS c(key, operator)
                                                                  WHERE c.operator = '=' AND i.combinator = 'AND'))) THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.are_covered(text, jsonb) IS $$Whether each of the criteria has an index that leaves nothing to filter: each tag is one of its fields or is fixed by its conditions. So to
look for them takes as long as there are matches, however many other events lie between.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.are_covered(text, jsonb);
