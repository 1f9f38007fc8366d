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

// What a session keeps is bounded, whether its transactions commit or not, and a rollback makes it forget nothing that it needs.
func TestKeptStatementsAreBoundedAndSurviveRollback(t *testing.T) {
	const shapes, most = 300, 128
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	for name, isRolledBack := range map[string]func(i int) bool{
		"some are rolled back": func(i int) bool { return i%3 == 0 },
		"all are rolled back":  func(int) bool { return true },
		"long stretches are":   func(i int) bool { return i/70%2 == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, pool.Config().ConnConfig)
			ids := 0
			ask := func(i int) {
				t.Helper()
				shape := []criterion{{{fmt.Sprint("key", i), "x"}}}
				if n := len(read(t, conn, "bank", question{criteria: shape, count: 1})); n != 0 {
					t.Fatalf("%d events match, want none", n)
				}
				if n := len(latest(t, conn, "bank", shape)); n != 0 {
					t.Fatalf("%d events are the latest, want none", n)
				}
				save(t, conn, "bank", request{none, shape, []event{moved(fmt.Sprint(name, ids), "bob")}})
				ids++
			}
			for i := range shapes {
				mustExec(t, conn, "BEGIN")
				ask(i)
				ask(i % 90)
				if isRolledBack(i) {
					mustExec(t, conn, "ROLLBACK")
				} else {
					mustExec(t, conn, "COMMIT")
				}
				var kept int
				if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'orisun\\_%'").Scan(&kept); err != nil {
					t.Fatal(err)
				}
				// In one transaction there are at most six new ones.
				if kept == 0 || kept > most+6 {
					t.Fatalf("after %d shapes %d statements are kept, want 1 to %d", i+1, kept, most+6)
				}
			}
		})
	}
}

// A transaction that asks for more than a session keeps, and is rolled back, leaves all that was kept before it.
func TestARolledBackTransactionTakesNoKeptStatementAway(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	conn := connect(t, pool.Config().ConnConfig)
	ask := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			read(t, conn, "bank", question{criteria: []criterion{{{fmt.Sprint("key", i), "x"}}}, count: 1})
		}
	}
	ask(0, 60)
	mustExec(t, conn, "BEGIN")
	ask(100, 300)
	mustExec(t, conn, "ROLLBACK")
	ask(0, 60)
}
