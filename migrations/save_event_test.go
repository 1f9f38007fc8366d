package migrations_test

import (
	"fmt"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestASaveAloneIsAnsweredAsOneAmongOthers, and where an index has the very fields of its criterion, without the statements that saves of any shape compose.
func TestASaveAloneIsAnsweredAsOneAmongOthers(t *testing.T) {
	const from, to = "account", "other"
	oneField, twoFields := account("alice"), []criterion{{{to, "bob"}, {from, "alice"}}}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
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
				{request{position{1, 0}, oneField, []event{moved("c", "alice")}}, "context_changed {2,1}"},
				{request{none, oneField, []event{moved("c", "alice")}}, "context_changed {2,1}"},
				{request{position{0, 0}, oneField, []event{moved("c", "alice")}}, "context_changed {2,1}"},
				{request{position{0, 0}, account("carol"), []event{moved("c", "carol")}}, "saved {3,2}"},
				{request{position{2, 1}, oneField, []event{moved("d", "alice", "bob")}}, "saved {4,3}"},
				{request{position{3, 2}, twoFields, []event{moved("e", "alice", "bob")}}, "context_changed {4,3}"},
				{request{position{4, 3}, twoFields, []event{moved("e", "alice", "bob")}}, "saved {5,4}"},
				{request{position{77, 5}, nil, []event{moved("f", "alice", "bob")}}, "saved {6,5}"},
			} {
				got, err := w.save(t.Context(), session, c.request)
				if text := fmt.Sprintf("%s {%d,%d}", got.Outcome, got.TransactionID, got.GlobalID); err != nil || text != c.want || got.Request != 1 {
					t.Errorf("request %d: got %s (%v), want %s", i, text, err, c.want)
				}
			}
			var kept string
			if err := session.QueryRow(t.Context(), `SELECT coalesce(current_setting('orisun.kept_statements', true), '')`).Scan(&kept); err != nil {
				t.Fatal(err)
			}
			if alone := kept == ""; alone != (w.name == "alone") {
				t.Errorf("composed statements: %q", kept)
			}

			amount := []criterion{{{"amount", "1"}}}
			for i, c := range []struct {
				request request
				want    string
			}{
				{request{none, oneField, []event{moved("a", "alice")}}, "repeated {1,0}"},
				{request{none, oneField, []event{moved("a", "carol")}}, "event_id_reused {1,0}"},
				{request{position{9, 1}, oneField, []event{moved("g", "alice")}}, "context_changed {-1,-1}"},
				{request{position{6, 5}, []criterion{{{"event_type", "MoneyMoved"}}}, []event{moved("g", "alice")}}, "saved {7,6}"},
				{request{none, []criterion{{}}, []event{moved("h", "alice")}}, "context_changed {7,6}"},
				{request{none, amount, []event{{"i", "Counted", `{"amount": 1}`}}}, "saved {8,7}"},
				{request{none, amount, []event{{"j", "Counted", `{"amount": 1}`}}}, "context_changed {8,7}"},
			} {
				got, err := w.save(t.Context(), session, c.request)
				if text := fmt.Sprintf("%s {%d,%d}", got.Outcome, got.TransactionID, got.GlobalID); err != nil || text != c.want {
					t.Errorf("request %d that another function is asked for: got %s (%v), want %s", i, text, err, c.want)
				}
			}
		})
	}
}
