package migrations_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestADatabaseOfAnEarlierSchemaIsUpgraded loads a dump of a database with four boundaries, indexes of every type,
// users and events, as the migrations up to version 130 made it, and migrates it.
func TestADatabaseOfAnEarlierSchemaIsUpgraded(t *testing.T) {
	config := pgtest.NewEmpty(t)
	conn := connect(t, config)
	packed, err := os.ReadFile("testdata/schema_130.sql.gz")
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	dumped, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, string(dumped))
	mustExec(t, conn, "RESET ALL")

	queries := []string{
		`SELECT event_id FROM orisun.get_matching_events('orders', '[{"tags": [{"key": "customer", "value": "c3"}]}]')`,
		`SELECT event_id FROM orisun.get_matching_events('orders',
			'[{"tags": [{"key": "amount", "value": "2.50"}, {"key": "eventType", "value": "OrderPlaced"}]}]')`,
		`SELECT event_id FROM orisun.get_matching_events('orders',
			'[{"tags": [{"key": "paid", "value": "true"}]}, {"tags": [{"key": "note", "value": "n5"}]}]', p_descending => true,
			  p_count => 9)`,
		`SELECT event_id FROM orisun.get_matching_events('Odd-Name', '[{"tags": [{"key": "it''s", "value": "1"}]}]')`,
		`SELECT event_id FROM orisun.get_latest_by_criteria('orders',
			'[{"tags": [{"key": "customer", "value": "c3"}]}, {"tags": [{"key": "at", "value": "2026-11-05T06:30:00Z"}]}]')
			  ORDER BY 1`,
		`SELECT username || ' ' || array_to_string(roles, ',') FROM orisun.list_users('orisun_admin') ORDER BY 1`,
		`SELECT name || ' ' || schema_name || ' ' || number FROM orisun.boundary ORDER BY 1`,
		`SELECT name || ' ' || state FROM orisun.list_indexes('orders') ORDER BY 1`,
		`SELECT global_id::text FROM orisun.get_published_position('orders')`,
	}
	before := answers(t, conn, queries)
	up(t, config)
	if diff := cmp.Diff(before, answers(t, conn, queries)); diff != "" {
		t.Errorf("answers differ after the upgrade (-before +after):\n%s", diff)
	}

	fresh := pgtest.NewEmpty(t)
	up(t, fresh)
	if diff := cmp.Diff(strings.Split(dump(t, fresh), "\n"), strings.Split(dump(t, config), "\n")); diff != "" {
		t.Errorf("the schema differs from a new one (-new +upgraded):\n%s", diff)
	}
	for _, name := range []string{"orders", "banking", "Odd-Name", "made_later", "orisun_admin"} {
		var clones, templates int
		err := conn.QueryRow(t.Context(), `
			SELECT count(p.*), count(t.*)
			  FROM pg_proc t
			  LEFT JOIN pg_proc p ON p.proname = $1 || '_orisun_' || t.proname
			 WHERE t.pronamespace = 'orisun_boundary'::regnamespace`, name).Scan(&clones, &templates)
		if err != nil || clones != templates || clones == 0 {
			t.Errorf("%s has %d of %d functions: %v", name, clones, templates, err)
		}
	}
	got := save(t, conn, "orders",
		request{none, []criterion{{{"customer", "stranger"}}}, []event{{"new", "OrderPlaced", `{"customer": "stranger"}`}}},
		request{none, []criterion{{{"customer", "c3"}}}, []event{{"newer", "OrderPlaced", `{"customer": "c3"}`}}})
	if text := fmt.Sprint(got[0].Outcome, " ", got[1].Outcome); text != "saved context_changed" {
		t.Errorf("saves after the upgrade: %s", text)
	}
	var position int64
	err = conn.QueryRow(t.Context(),
		`INSERT INTO shop.orders_orisun_es_event (event_id, event_type, data) VALUES ('by hand', 'T', '{}')
			RETURNING global_id`).Scan(&position)
	if err != nil || position != got[0].GlobalID+1 {
		t.Errorf("an INSERT by hand got position %d after %d: %v", position, got[0].GlobalID, err)
	}
}

func answers(t *testing.T, conn *pgx.Conn, queries []string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, query := range queries {
		rows, err := conn.Query(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if all[query], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if len(all[query]) == 0 {
			t.Errorf("%s: no rows, so this test shows nothing", query)
		}
	}
	return all
}
