-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION orisun.list_indexes(p_boundary text) RETURNS SETOF orisun.listed_index
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_number   integer := (orisun.find_boundary(p_boundary)).number;
    v_building boolean := EXISTS (SELECT FROM pg_locks l
                                   WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
                                     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                                     AND l.classid = orisun.index_class()::oid AND l.objid = v_number::oid);
BEGIN
    RETURN QUERY
    SELECT i.name, i.field_keys, i.field_types, i.condition_keys, i.condition_operators, i.condition_values, i.combinator,
           CASE WHEN x.indisvalid THEN 'READY' ELSE 'BUILDING' END,
           coalesce(p.phase, ''),
           CASE WHEN x.indisvalid THEN 100
                ELSE coalesce(100 * CASE WHEN p.blocks_total > 0 THEN p.blocks_done::numeric / p.blocks_total
                                         WHEN p.tuples_total > 0 THEN p.tuples_done::numeric / p.tuples_total
                                         WHEN p.lockers_total > 0 THEN p.lockers_done::numeric / p.lockers_total END, 0)::integer END,
           coalesce(pg_stat_get_numscans(x.indexrelid), 0),
           coalesce(pg_relation_size(x.indexrelid), 0),
           i.created_at
      FROM orisun.boundary_index i
      LEFT JOIN pg_index x ON x.indexrelid = to_regclass(i.relation)
      LEFT JOIN pg_stat_progress_create_index p ON p.index_relid = x.indexrelid AND p.datname = current_database()
     WHERE i.boundary = p_boundary AND (x.indisvalid OR v_building)
     ORDER BY i.name;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION orisun.list_indexes(text) IS $$The indexes of a boundary, by name: which there are, which are ready, how much they are used. A definition whose index somebody
dropped by hand, or whose build failed, is not listed. Raises OR001 for an unknown boundary.

  SELECT * FROM orisun.list_indexes('orders')$$;

-- +goose Down
SELECT orisun.refuse_down_while_events_exist();
DROP FUNCTION orisun.list_indexes(text);
