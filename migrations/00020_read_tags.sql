-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.read_tags(p_criteria jsonb, OUT tag_criteria integer[], OUT tag_keys text[], OUT tag_values text[])
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT coalesce(array_agg(t.criterion), '{}'), coalesce(array_agg(t.key), '{}'), coalesce(array_agg(t.val), '{}')
      INTO tag_criteria, tag_keys, tag_values
      FROM (SELECT c.criterion, g.key, g.val, every(c.keys <> '{}') OVER () AS each_has_tags
              FROM orisun.read_criteria(p_criteria) c
              LEFT JOIN LATERAL unnest(c.keys, c.vals) WITH ORDINALITY AS g(key, val, ordinal) ON true
             ORDER BY c.criterion, g.ordinal) t
     WHERE t.each_has_tags;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.read_tags(jsonb) IS $$Criteria as the API's JSON has them, as orisun.get_events takes them: an element each for a tag's criterion (from 1), its key and its value.
No tags are every event, so there are none when a criterion has none. Raises OR007 for anything else.$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.read_tags(jsonb);
