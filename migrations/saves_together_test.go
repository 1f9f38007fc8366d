package migrations_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestOutcomesOfSavesThatComeAlone has contexts that are and are not served by indexes.
func TestOutcomesOfSavesThatComeAlone(t *testing.T) {
	const from, to = "account", "other"
	oneField, twoFields := account("alice"), []criterion{{{to, "bob"}, {from, "alice"}}}
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", from))
	mustIndex(t, pool, "bank", textIndex("pair", from, to))
	mustIndex(t, pool, "bank", index{name: "amount", fields: []field{{"amount", "NUMERIC"}}})
	session := acquire(t, pool)
	for i, c := range []struct {
		request request
		want    string
	}{
		{request{none, oneField, []event{moved("a", "alice")}}, "saved {1,0}"},
		{request{position{1, 0}, oneField, []event{moved("b", "alice")}}, "saved {2,1}"},
		{request{position{0, 0}, account("carol"), []event{moved("c", "carol")}}, "saved {3,2}"},
		{request{position{2, 1}, oneField, []event{moved("d", "alice", "bob")}}, "saved {4,3}"},
		{request{position{4, 3}, twoFields, []event{moved("e", "alice", "bob")}}, "saved {5,4}"},
		{request{position{77, 5}, nil, []event{moved("f", "alice", "bob")}}, "saved {6,5}"},
	} {
		got, err := saveOne(t.Context(), session, c.request)
		if text := fmt.Sprintf("%s {%d,%d}", got.Outcome, got.TransactionID, got.GlobalID); err != nil || text != c.want ||
			got.Request != 1 {
			t.Errorf("request %d: got %s (%v), want %s", i, text, err, c.want)
		}
	}

	amount := []criterion{{{"amount", "1"}}}
	for i, c := range []struct {
		request request
		want    string
	}{
		{request{position{1, 0}, oneField, []event{moved("g", "alice")}}, "context_changed {6,5}"},
		{request{none, oneField, []event{moved("g", "alice")}}, "context_changed {6,5}"},
		{request{position{0, 0}, oneField, []event{moved("g", "alice")}}, "context_changed {6,5}"},
		{request{position{4, 3}, twoFields, []event{moved("g", "alice", "bob")}}, "context_changed {6,5}"},
		{request{none, oneField, []event{moved("a", "alice")}}, "repeated {1,0}"},
		{request{none, oneField, []event{moved("a", "carol")}}, "event_id_reused {1,0}"},
		{request{position{9, 1}, oneField, []event{moved("g", "alice")}}, "context_changed {-1,-1}"},
		{request{position{6, 5}, []criterion{{{"event_type", "MoneyMoved"}}}, []event{moved("g", "alice")}}, "saved {7,6}"},
		{request{none, []criterion{{}}, []event{moved("h", "alice")}}, "context_changed {7,6}"},
		{request{none, amount, []event{{"i", "Counted", `{"amount": 1}`}}}, "saved {8,7}"},
		{request{none, amount, []event{{"j", "Counted", `{"amount": 1}`}}}, "context_changed {8,7}"},
	} {
		got, err := saveOne(t.Context(), session, c.request)
		if text := fmt.Sprintf("%s {%d,%d}", got.Outcome, got.TransactionID, got.GlobalID); err != nil || text != c.want {
			t.Errorf("request %d: got %s (%v), want %s", i, text, err, c.want)
		}
	}
}

// TestOutcomesOfSavesThatComeTogether has saves that depend on each other, and such that do not.
func TestOutcomesOfSavesThatComeTogether(t *testing.T) {
	const from, to = "account", "other"
	pair := func(a, b string) []criterion { return []criterion{{{from, a}, {to, b}}} }
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", from))
	mustIndex(t, pool, "bank", textIndex("pair", from, to))
	mustIndex(t, pool, "bank", textIndex("type", "event_type"))
	session := acquire(t, pool)
	save(t, session, "bank", request{none, nil, []event{moved("1st", "zoe"), moved("2nd", "zoe")}})
	for _, c := range []struct {
		name     string
		requests []request
		want     string
	}{
		{"no criterion", []request{
			{none, nil, []event{moved("a", "alice")}}, {position{77, 99}, nil, []event{moved("b", "alice")}},
		}, "saved {3,2} saved {4,3}"},
		{"contexts of their own", []request{
			{position{4, 3}, account("alice"), []event{moved("c", "alice")}},
			{none, account("bob"), []event{moved("d", "bob")}},
			{position{0, 0}, account("carol"), []event{moved("e", "dave")}},
		}, "saved {5,4} saved {6,5} saved {7,6}"},
		{"an event in the context of a later one", []request{
			{none, account("erin"), []event{moved("f", "frank")}},
			{none, account("frank"), []event{moved("g", "frank")}},
			{none, account("gail"), []event{moved("h", "gail")}},
		}, "saved {8,7} context_changed {8,7} saved {9,8}"},
		{"an event in the context of an earlier one", []request{
			{none, account("heidi"), []event{moved("i", "ivan")}}, {none, account("judy"), []event{moved("j", "heidi")}},
		}, "saved {10,9} saved {11,10}"},
		{"two fields, in turn", []request{
			{none, pair("x", "y"), []event{moved("k", "y", "x")}},
			{none, pair("y", "y"), []event{moved("l", "y", "y")}},
			{none, pair("y", "x"), []event{moved("m", "z")}},
		}, "saved {12,11} saved {13,12} context_changed {12,11}"},
		{"an event type", []request{
			{position{13, 12}, []criterion{{{"event_type", "MoneyMoved"}}}, []event{moved("n", "a")}},
			{none, []criterion{{{"event_type", "Other"}}}, []event{moved("o", "b")}},
		}, "saved {14,13} saved {15,14}"},
		{"the type of an earlier one", []request{
			{none, []criterion{{{"event_type", "Other"}}}, []event{{"p", "New", "{}"}}},
			{none, []criterion{{{"event_type", "New"}}}, []event{moved("q", "b")}},
		}, "saved {16,15} context_changed {16,15}"},
		{"a position where no event is", []request{
			{position{77, 99}, account("kim"), []event{moved("r", "kim")}}, {none, account("leo"), []event{moved("s", "leo")}},
		}, "context_changed {-1,-1} saved {17,16}"},
		{"a position in the midst of a save", []request{
			{position{2, 0}, account("zoe"), []event{moved("t", "zoe")}}, {none, account("mia"), []event{moved("u", "mia")}},
		}, "context_changed {2,1} saved {18,17}"},
		{"a retry", []request{
			{none, account("mia"), []event{moved("u", "mia")}}, {none, account("nina"), []event{moved("v", "nina")}},
		}, "repeated {18,17} saved {19,18}"},
		{"a retry that nothing else prevents", []request{
			{none, nil, []event{moved("a", "alice")}}, {none, nil, []event{moved("x", "alice")}},
		}, "repeated {3,2} saved {20,19}"},
		{"a context of two fields that has an event", []request{
			{none, pair("y", "z"), []event{moved("y", "pat")}}, {none, pair("y", "x"), []event{moved("z", "pat")}},
		}, "saved {21,20} context_changed {12,11}"},
		{"one save twice", []request{
			{none, account("olga"), []event{moved("w", "olga")}}, {none, account("olga"), []event{moved("w", "olga")}},
		}, "saved {22,21} repeated {22,21}"},
	} {
		results, err := trySave(t.Context(), session, "bank", c.requests...)
		var got []string
		for i, r := range results {
			if got = append(got, fmt.Sprintf("%s {%d,%d}", r.Outcome, r.TransactionID, r.GlobalID)); r.Request != int32(i+1) {
				t.Errorf("%s: answer %d is that of request %d", c.name, i+1, r.Request)
			}
		}
		if text := strings.Join(got, " "); err != nil || text != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, text, err, c.want)
		}
	}
}

// TestServersThatStartTogetherKnowTheIndexes: each renders the boundary's lookup again where it has to, which two
// may not do at once.
func TestServersThatStartTogetherKnowTheIndexes(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	source := func() (oid uint32, row, body string) {
		t.Helper()
		err := pool.QueryRow(t.Context(),
			`SELECT oid, xmin::text, prosrc FROM pg_proc WHERE oid = orisun.find_boundary_function('bank', 'lookup')::regproc`).
			Scan(&oid, &row, &body)
		if err != nil {
			t.Fatal(err)
		}
		return oid, row, body
	}
	oid, row, body := source()
	finish := func() error {
		_, err := pool.Exec(t.Context(), `SELECT orisun.finish_indexing('bank')`)
		return err
	}
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	if _, again, _ := source(); again != row {
		t.Error("the function was replaced by itself")
	}

	// As after a restore: what it knows is none of the indexes that there are.
	mustExecPool(t, pool, fmt.Sprintf(`UPDATE pg_proc SET prosrc = 'BEGIN RETURN NULL; END' WHERE oid = %d`, oid))
	first, second := acquire(t, pool), acquire(t, pool)
	tx, err := first.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT orisun.finish_indexing('bank')`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := second.Exec(t.Context(), `SELECT orisun.finish_indexing('bank')`)
		done <- err
	}()
	waitUntilBlocked(t, pool, second.PgConn().PID())
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the second one: %v", err)
	}
	if _, _, again := source(); again != body {
		t.Errorf("the function is\n%s\nwant\n%s", again, body)
	}
}
