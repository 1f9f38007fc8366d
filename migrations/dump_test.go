package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// dumpObjects is everything in schemas orisun and orisun_boundary as text, in an order and a form that do not depend on
// PostgreSQL's version.
const dumpObjects = `
SELECT object FROM (
SELECT 'table ' || c.relname || E'\n' || coalesce(obj_description(c.oid, 'pg_class') || E'\n', '') || coalesce(
           (SELECT string_agg(format('  %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                                     CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
                                     CASE WHEN d.oid IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin,
                                       d.adrelid) ELSE '' END,
                                     CASE WHEN a.attidentity <> '' THEN ' IDENTITY' ELSE '' END), E'\n'
                                       ORDER BY a.attnum)
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
       || coalesce(E'\n' || (SELECT string_agg('  ' || x.conname || ' ' || pg_get_constraintdef(x.oid), E'\n'
         ORDER BY x.conname)
                               FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype <> 'n'), '')
       || coalesce(E'\n' || (SELECT string_agg('  ' || pg_get_indexdef(i.indexrelid), E'\n'
         ORDER BY i.indexrelid::regclass::text)
                               FROM pg_index i WHERE i.indrelid = c.oid), '') AS object
  FROM pg_class c
 WHERE c.relnamespace = ANY (ARRAY[to_regnamespace('orisun'), to_regnamespace('orisun_boundary')])
   AND c.relkind IN ('r', 'c')
UNION ALL
SELECT 'function ' || pg_get_functiondef(p.oid) || E'\n' || coalesce(obj_description(p.oid, 'pg_proc'), 'undocumented')
  FROM pg_proc p
 WHERE p.pronamespace = ANY (ARRAY[to_regnamespace('orisun'), to_regnamespace('orisun_boundary')])
UNION ALL
SELECT 'schema ' || n.nspname || E'\n' || obj_description(n.oid, 'pg_namespace') FROM pg_namespace n
  WHERE n.nspname IN ('orisun', 'orisun_boundary')) objects
ORDER BY object COLLATE "C"`

func dump(t *testing.T, config *pgx.ConnConfig) string {
	t.Helper()
	config = config.Copy()
	config.RuntimeParams["timezone"], config.RuntimeParams["datestyle"] = "UTC", "ISO"
	rows, err := connect(t, config).Query(t.Context(), dumpObjects)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, object := range objects {
		text += object + "\n\n"
	}
	return text
}
