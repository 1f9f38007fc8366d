package migrations_test

import (
	"fmt"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// A plan that is kept may be as old as the boundary: made while it was empty, when no index looked better than another.
func TestPlansKeptSinceTheTableWasEmptyTouchNoMoreThanFreshOnes(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustExecPool(t, pool, `ALTER TABLE public.bank_orisun_es_event SET (autovacuum_enabled = off)`)
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()

	last := position{-1, -1}
	statements := map[string]func() string{
		"a save":            func() string { return conditionalSave(last, "account", "a1") },
		"an unindexed save": func() string { return conditionalSave(last, "note", "a1") },
		"a page": func() string {
			return fmt.Sprintf(`SELECT * FROM orisun.get_matching_events('bank', '[]', %d, %d, p_count => 10)`, last.transactionID-100, last.globalID-100)
		},
		"a page of a context": func() string {
			return `SELECT * FROM orisun.get_matching_events('bank', '[{"tags": [{"key": "account", "value": "a1"}]}]', p_descending => true, p_count => 10)`
		},
		"the latest": func() string {
			return `SELECT * FROM orisun.get_latest_by_criteria('bank', '[{"tags": [{"key": "account", "value": "a1"}]}]')`
		},
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // more often than PostgreSQL hesitates to keep a plan
		for _, statement := range statements {
			touched(t, tx, statement())
		}
	}
	const events = 20_000
	mustExec(t, conn.Conn(), fmt.Sprintf(`INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'e' || g, 'T', jsonb_build_object('account', 'a' || g %% 100) FROM generate_series(0, %d) g`, events-1))
	last = position{events, events - 1}
	const most = 150 // a save checks, inserts into a handful of indexes and reads the catalogue; the table has several hundred pages
	for name, statement := range statements {
		if n := touched(t, tx, statement()); n > most {
			t.Errorf("%s: %d buffers, want at most %d", name, n, most)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a session keeps is bounded, and a rollback makes it forget nothing that it needs.
func TestKeptStatementsAreBoundedAndSurviveRollback(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	save(t, conn, "bank", request{none, nil, []event{moved("a", "alice")}})
	for i := range 200 {
		mustExec(t, conn.Conn(), "BEGIN")
		c := criterion{{fmt.Sprint("key", i), "x"}}
		if n := len(read(t, conn, "bank", question{criteria: []criterion{c}, count: 1})); n != 0 {
			t.Fatalf("%d events match, want none", n)
		}
		end := "COMMIT"
		if i%3 == 0 {
			end = "ROLLBACK"
		}
		mustExec(t, conn.Conn(), end)
		if got := save(t, conn, "bank", request{position{1, 0}, []criterion{{{fmt.Sprint("key", i%70), "x"}}}, []event{moved(fmt.Sprint("n", i), "bob")}})[0]; got.Outcome != "saved" {
			t.Fatalf("save %d: %s", i, got.Outcome)
		}
	}
	var kept int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'orisun\\_%'").Scan(&kept); err != nil {
		t.Fatal(err)
	}
	if kept == 0 || kept > 64 {
		t.Errorf("%d statements are kept, want 1 to 64", kept)
	}
}
