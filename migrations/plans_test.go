package migrations_test

import (
	"fmt"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// A cached plan may be as old as the boundary: made while it was empty, when no index looked better than another, or
// held one event or some hundred, when to read all of it looked best.
func TestPlansCachedSinceTheTableWasSmallTouchNoMoreThanFreshOnes(t *testing.T) {
	for _, small := range []int{0, 1, 300} {
		t.Run(fmt.Sprint(small, " events"), func(t *testing.T) { testCachedPlans(t, small) })
	}
}

func testCachedPlans(t *testing.T, small int) {
	t.Helper()
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
		"two saves": func() string {
			return fmt.Sprintf(`SELECT * FROM public.bank_orisun_save_requests(
				'{%d, -1}', '{%d, -1}', '{1, 2}', ARRAY['{"account": "a1"}', '{"account": "b1"}']::jsonb[],
				'{1, 2}', '{x, y}', '{T, T}', ARRAY['{"account": "a1"}', '{"account": "b1"}']::jsonb[],
				'{"{}", "{}"}')`, last.transactionID, last.globalID)
		},
		"a page": func() string {
			return fmt.Sprintf(`SELECT * FROM orisun.get_matching_events('bank', '[]', %d, %d, p_count => 10)`,
				last.transactionID-100, last.globalID-100)
		},
		"a page of a context": func() string {
			return `SELECT * FROM orisun.get_matching_events('bank', '[{"tags": [{"key": "account", "value": "a1"}]}]',
				p_descending => true, p_count => 10)`
		},
		"the latest": func() string {
			return `SELECT * FROM orisun.get_latest_by_criteria('bank', '[{"tags": [{"key": "account", "value": "a1"}]}]')`
		},
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn.Conn(),
		`SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;
			SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off`)
	insert := func(until int) {
		first := int(last.globalID) + 1
		mustExec(t, conn.Conn(),
			fmt.Sprintf(`INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
			SELECT g, g + 1, 'e' || g, 'T', jsonb_build_object('account', 'a' || g %% 100)
			  FROM generate_series(%d, %d) g`, first, until-1))
		last = position{int64(until), int64(until) - 1}
	}
	if small > 0 {
		insert(small)
		mustExec(t, conn.Conn(), `ANALYZE public.bank_orisun_es_event`)
	}
	for range 10 { // more often than PostgreSQL hesitates to keep a plan
		for _, statement := range statements {
			touched(t, tx, statement())
		}
	}
	insert(20_000)
	// a save checks, inserts into a handful of indexes and reads the catalogue; the table has several hundred pages
	const most = 150
	for name, statement := range statements {
		if n := touched(t, tx, statement()); n > most {
			t.Errorf("%s: %d buffers, want at most %d", name, n, most)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A session that keeps a statement learns of indexes that others make and drop.
func TestACachedStatementFollowsTheIndexes(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustExecPool(t, pool, `INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'e' || g, 'T', jsonb_build_object('account', 'a' || g % 1000) FROM generate_series(0, 19999) g`)
	conn := connect(t, pool.Config().ConnConfig)
	ask := func() int {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		statement := `SELECT * FROM orisun.get_matching_events('bank', '[{"tags": [{"key": "account", "value": "a7"}]}]',
			p_descending => true, p_count => 10)`
		touched(t, tx, statement) // the session learns
		n := touched(t, tx, statement)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := len(read(t, conn, "bank", query{
			criteria: []criterion{{{"account", "a7"}}}, descending: true, count: 10,
		})); found != 10 {
			t.Fatalf("%d events, want 10", found)
		}
		return n
	}
	without := ask()
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	with := ask()
	if with > 40 || without < 100 {
		t.Errorf("%d buffers without an index, %d with one", without, with)
	}
	mustExecPool(t, pool, `DROP INDEX public.bank_account_idx`)
	if again := ask(); again > 2*without {
		t.Errorf("%d buffers before there was an index, %d after it is gone", without, again)
	}
}
