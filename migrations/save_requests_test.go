package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
)

func account(holder string) []criterion { return []criterion{{{"account", holder}}} }

func moved(id string, accounts ...string) event {
	data := make([]string, len(accounts))
	for i, a := range accounts {
		data[i] = fmt.Sprintf("%q: %q", []string{"account", "other"}[i], a)
	}
	return event{id, "MoneyMoved", "{" + strings.Join(data, ",") + "}"}
}

func saveOne(ctx context.Context, tx db.DBTX, r request) (result db.OrisunSaveResult, err error) {
	results, err := trySave(ctx, tx, "bank", r)
	if err == nil {
		result = results[0]
	}
	return result, err
}

// race lets c1 save inside an open transaction, starts c2's save, sees that it waits, and only then commits c1's.
func race(t *testing.T, first, second request, check func(t *testing.T, winner, refused db.OrisunSaveResult)) {
	t.Helper()
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	c1, c2 := acquire(t, pool), acquire(t, pool)

	tx, err := c1.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	winner, err := saveOne(t.Context(), tx, first)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		result db.OrisunSaveResult
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		result, err := saveOne(t.Context(), c2, second)
		answers <- answer{result, err}
	}()
	waitUntilBlocked(t, pool, c2.PgConn().PID())
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := <-answers
	if a.err != nil {
		t.Fatal(a.err)
	}
	check(t, winner, a.result)
}

func wantOneWinner(t *testing.T, first, second db.OrisunSaveResult) {
	t.Helper()
	if first.Outcome != "saved" || second.Outcome != "context_changed" {
		t.Fatalf("got %s, then %s; want the first one saved and the second one fail because its context changed",
			first.Outcome, second.Outcome)
	}
}

func wantBothSaved(t *testing.T, first, second db.OrisunSaveResult) {
	t.Helper()
	if first.Outcome != "saved" || second.Outcome != "saved" {
		t.Fatalf("got %s, then %s; want both saved", first.Outcome, second.Outcome)
	}
}

func TestOverlappingAppendsWithTheSameCriteriaHaveOneWinner(t *testing.T) {
	race(t,
		request{none, account("alice"), []event{moved("a", "alice")}},
		request{none, account("alice"), []event{moved("b", "alice")}},
		func(t *testing.T, first, second db.OrisunSaveResult) {
			t.Helper()
			wantOneWinner(t, first, second)
			if second.TransactionID != 1 || second.GlobalID != 0 {
				t.Errorf("the refused save returns {%d,%d}, want the winner's position {1,0}",
					second.TransactionID, second.GlobalID)
			}
		})
}

func TestOverlappingAppendsWhoseCriteriaDifferButShareAnEventHaveOneWinner(t *testing.T) {
	race(t,
		request{none, account("alice"), []event{moved("a", "alice", "bob")}},
		request{none, []criterion{{{"other", "bob"}, {"event_type", "MoneyMoved"}}}, []event{moved("b", "carol", "bob")}},
		wantOneWinner)
}

func TestOverlappingAppendsThatShareNothingBothWin(t *testing.T) {
	race(t,
		request{none, account("alice"), []event{moved("a", "alice")}},
		request{none, account("bob"), []event{moved("b", "bob")}},
		func(t *testing.T, first, second db.OrisunSaveResult) {
			t.Helper()
			wantBothSaved(t, first, second)
			if first.GlobalID != 0 || second.GlobalID != 1 {
				t.Errorf("positions %d and %d, want 0 and 1: in the order of commits", first.GlobalID, second.GlobalID)
			}
		})
}

func TestAnUnconditionalAppendChangesTheContextOfAConditionalOne(t *testing.T) {
	race(t,
		request{none, nil, []event{moved("a", "alice")}},
		request{none, account("alice"), []event{moved("b", "alice")}},
		wantOneWinner)
}

func TestAnUnconditionalAppendNeverLoses(t *testing.T) {
	race(t,
		request{none, account("alice"), []event{moved("a", "alice")}},
		request{position{77, 5}, nil, []event{moved("b", "alice")}},
		wantBothSaved)
}

func TestARolledBackSaveLeavesNoGapAndNoConflict(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	save(t, tx, "bank", request{none, account("alice"), []event{moved("a", "alice")}})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := save(t, pool, "bank", request{none, account("alice"), []event{moved("b", "alice")}})[0]
	if got.Outcome != "saved" || got.GlobalID != 0 {
		t.Fatalf("got %s at %d, want saved at 0", got.Outcome, got.GlobalID)
	}
}

func TestAForeignOpenWriteTransactionDelaysNoSaveAndNoReader(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	foreign, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Exec(t.Context(),
		"CREATE TABLE public.foreign_work (n int); INSERT INTO public.foreign_work VALUES (1)"); err != nil {
		t.Fatal(err)
	}

	// Were anything to wait for the foreign transaction, lock_timeout would end it with an error.
	patient := acquire(t, pool)
	if _, err := patient.Exec(t.Context(), "SET lock_timeout = '2s'; SET statement_timeout = '20s'"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		got := save(t, patient, "bank", request{
			none, account(fmt.Sprint(i)), []event{moved(fmt.Sprint(i), fmt.Sprint(i))},
		})[0]
		if got.Outcome != "saved" {
			t.Fatalf("save %d: %s", i, got.Outcome)
		}
		if events := read(t, patient, "bank", query{count: 100}); len(events) != i+1 {
			t.Fatalf("a reader sees %d events beside the foreign transaction, want %d", len(events), i+1)
		}
	}
	if err := foreign.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestASaveUnderAnotherIsolationLevelIsRefused(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
		if err != nil {
			t.Fatal(err)
		}
		savepoint, err := tx.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = saveOne(t.Context(), savepoint, request{none, nil, []event{moved("a", "alice")}})
		wantState(t, err, "OR005")
		if err := savepoint.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASaveSentTwiceIsStoredOnceAtTheSamePosition(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	r := request{none, account("alice"), []event{moved("a", "alice"), moved("b", "alice")}}
	first := save(t, pool, "bank", r)[0]
	save(t, pool, "bank", request{none, nil, []event{moved("c", "alice")}})
	again := save(t, pool, "bank", r)[0]
	if first.Outcome != "saved" || again.Outcome != "repeated" || again.TransactionID != first.TransactionID ||
		again.GlobalID != first.GlobalID {
		t.Fatalf("first %+v, again %+v", first, again)
	}
	if n := len(read(t, pool, "bank", query{count: 100})); n != 3 {
		t.Errorf("%d events are stored, want 3", n)
	}
}

func TestAReusedEventIDChangesNothing(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	save(t, pool, "bank", request{none, nil, []event{moved("a", "alice"), moved("b", "bob")}})
	save(t, pool, "bank", request{none, nil, []event{{"n", "Counted", `{"n": 1}`}}})
	for name, events := range map[string][]event{
		"other data":         {moved("a", "mallory"), moved("b", "bob")},
		"other type":         {{"a", "Other", `{"account": "alice"}`}, moved("b", "bob")},
		"a part of the save": {moved("a", "alice")},
		"its end":            {moved("b", "bob")},
		"more than the save": {moved("a", "alice"), moved("b", "bob"), moved("c", "carol")},
		"another order":      {moved("b", "bob"), moved("a", "alice")},
		"known and new":      {moved("new", "x"), moved("b", "bob")},
		"an equal number":    {{"n", "Counted", `{"n": 1.0}`}},
	} {
		if got := save(t, pool, "bank", request{none, nil, events})[0]; got.Outcome != "event_id_reused" {
			t.Errorf("%s: got %s, want event_id_reused", name, got.Outcome)
		}
	}
	if n := len(read(t, pool, "bank", query{count: 100})); n != 3 {
		t.Errorf("%d events are stored, want 3", n)
	}
}

func TestOddKeysAndValuesMatchExactly(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	odd := []string{
		`'`, `''`, `"`, `\`, `\\`, `\'`, `%s`, `%I`, `%`, `$1`, `$$`, `{}`, `}`, `a'; DROP TABLE x; --`, "ключ", "😀", " ",
		"a.b", "NULL", "e.data", "\u00e9", "e\u0301", "tab\there", "line\nbreak",
	}
	for i, text := range odd {
		quoted := quoteJSON(t, text)
		save(t, pool, "bank", request{none, nil, []event{{fmt.Sprint(i), "Odd", fmt.Sprintf("{%s: %s}", quoted, quoted)}}})
	}
	for i, text := range odd {
		c := []criterion{{{text, text}}}
		events := read(t, pool, "bank", query{criteria: c, count: 100})
		if len(events) != 1 || events[0].EventID != fmt.Sprint(i) {
			t.Errorf("key and value %q match %d events, want one", text, len(events))
		}
		if got := save(t, pool, "bank", request{
			none, c, []event{moved("x"+fmt.Sprint(i), "x")},
		})[0]; got.Outcome != "context_changed" || got.GlobalID != int64(i) {
			t.Errorf("a save whose context is %q: %s at %d, want context_changed at %d", text, got.Outcome, got.GlobalID, i)
		}
	}
}

func TestNumbersBeyondFloatsMatchAsTheyAreWritten(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	save(t, pool, "bank", request{
		none, nil, []event{{"n", "T", `{"n": 9007199254740993, "b": true, "z": null, "o": {"a": 1}}`}},
	})
	for _, c := range []struct {
		key, value string
		want       int
	}{
		{"n", "9007199254740993", 1},
		{"n", "9007199254740992", 0},
		{"b", "true", 1},
		{"z", "null", 0},
		{"z", "", 0},
		{"o", `{"a": 1}`, 1},
		{"missing", "", 0},
	} {
		if got := len(read(t, pool, "bank", query{criteria: []criterion{{{c.key, c.value}}}, count: 10})); got != c.want {
			t.Errorf("%s = %s matches %d events, want %d", c.key, c.value, got, c.want)
		}
	}
}

func TestAnInsertByHandDrawsPositionsUnderTheLock(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	save(t, pool, "bank", request{none, nil, []event{moved("a", "alice")}})
	c1, c2 := acquire(t, pool), acquire(t, pool)
	tx, err := c1.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(),
		`INSERT INTO public.bank_orisun_es_event (event_id, event_type, data)
			VALUES ('h1', 'Hand', '{}'), ('h2', 'Hand', '{}')`); err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() {
		_, err := trySave(t.Context(), c2, "bank", request{none, nil, []event{moved("b", "bob")}})
		saved <- err
	}()
	waitUntilBlocked(t, pool, c2.PgConn().PID())
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range read(t, pool, "bank", query{count: 10}) {
		got = append(got, fmt.Sprintf("%s{%d,%d}", e.EventID, e.TransactionID, e.GlobalID))
	}
	if want := []string{"a{1,0}", "h1{2,1}", "h2{3,2}", "b{4,3}"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInsertsByHandGoOnWhereTheTableEnds(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	byHand := func(conn db.DBTX, columns, values string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(),
			`INSERT INTO public.bank_orisun_es_event (event_type, data, `+columns+`)
			 VALUES ('Hand', '{}', `+values+`)`); err != nil {
			t.Fatal(err)
		}
	}
	transaction := func(end func(pgx.Tx, context.Context) error, do func(pgx.Tx)) {
		t.Helper()
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		do(tx)
		if err := end(tx, t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	transaction(pgx.Tx.Rollback, func(tx pgx.Tx) { byHand(tx, "event_id", "'gone'") })
	transaction(pgx.Tx.Commit, func(tx pgx.Tx) {
		byHand(tx, "event_id", "'h1'")
		save(t, tx, "bank", request{none, nil, []event{moved("a", "alice"), moved("b", "bob")}})
		byHand(tx, "event_id", "'h2'")
	})
	transaction(pgx.Tx.Commit, func(tx pgx.Tx) {
		byHand(tx, "event_id, global_id, transaction_id", "'h3', 10, 11")
		byHand(tx, "event_id", "'h4'")
	})
	var got []string
	for _, e := range read(t, pool, "bank", query{count: 10}) {
		got = append(got, fmt.Sprintf("%s{%d,%d}", e.EventID, e.TransactionID, e.GlobalID))
	}
	if want := []string{"h1{1,0}", "a{3,1}", "b{3,2}", "h2{4,3}", "h3{11,10}", "h4{12,11}"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMalformedCallsStoreNothing(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	_, err := trySave(t.Context(), pool, "nowhere", request{none, nil, []event{moved("a", "x")}})
	wantState(t, err, "OR001")
	_, err = trySave(t.Context(), pool, "bank", request{none, nil, []event{moved("a", "x")}}, request{none, nil, nil})
	wantState(t, err, "OR007")
	for _, call := range []string{
		`SELECT orisun.insert_events_with_consistency('bank', '{}', '[]')`,
		`SELECT orisun.insert_events_with_consistency('bank', '{"criteria": [{"key": "a"}]}',
			'[{"event_id": "a", "event_type": "T", "data": {}}]')`,
		`SELECT orisun.get_matching_events('bank', '[{"tag": []}]')`,
		`SELECT orisun.get_matching_events('bank', '{}')`,
	} {
		_, err := pool.Exec(t.Context(), call)
		wantState(t, err, "OR007")
	}
	if n := len(read(t, pool, "bank", query{count: 10})); n != 0 {
		t.Errorf("%d events are stored, want none", n)
	}
}

func TestTheFunctionForPsqlRaisesWhatSaveRequestsAnswers(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	insert := func(query, events string) (p position, err error) {
		err = pool.QueryRow(t.Context(),
			`SELECT transaction_id, global_id FROM orisun.insert_events_with_consistency('bank', $1, $2)`, query, events).
			Scan(&p.transactionID, &p.globalID)
		return p, err
	}
	const events = `[{"event_id": "a", "event_type": "T", "data": {"account": "alice"}}, {"event_id": "b", ` +
		`"event_type": "T", "data": {}}]`
	const context = `{"criteria": [{"tags": [{"key": "account", "value": "alice"}]}]}`
	for range 2 {
		got, err := insert(context, events)
		if err != nil || got != (position{2, 1}) {
			t.Fatalf("got %v, %v; want {2 1}", got, err)
		}
	}
	_, err := insert(context, `[{"event_id": "c", "event_type": "T", "data": {}}]`)
	wantState(t, err, "OR003")
	_, err = insert(`{}`, `[{"event_id": "a", "event_type": "T", "data": {}}]`)
	wantState(t, err, "OR004")
	if _, err := insert(`{"expected_position": {"transaction_id": 2, "global_id": 0}, "criteria": [{"tags": [{"key": `+
		`"account", "value": "alice"}]}]}`, `[{"event_id": "c", "event_type": "T", "data": {}}]`); err != nil {
		t.Errorf("a save that has seen alice's event: %v", err)
	}
}

func acquire(t *testing.T, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	return conn.Conn()
}

// waitUntilBlocked returns when the backend waits for an advisory lock.
func waitUntilBlocked(t *testing.T, pool *pgxpool.Pool, pid uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for blocked := false; !blocked; {
		err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", int32(pid)).
			Scan(&blocked)
		if err != nil {
			t.Fatalf("backend %d does not wait for a lock: %v", pid, err)
		}
	}
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var pgError *pgconn.PgError
	if !errors.As(err, &pgError) || pgError.Code != state {
		t.Fatalf("got %v, want SQLSTATE %s", err, state)
	}
}
