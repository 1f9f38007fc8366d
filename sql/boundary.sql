-- name: InitializeBoundaryTables :exec
SELECT orisun.initialize_boundary_tables(p_boundary => @boundary::text, p_schema => @schema::text, p_description => @description::text);
