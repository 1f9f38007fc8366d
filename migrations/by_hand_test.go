package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/migrations/pgtest"
)

const handTable = "public.bank_orisun_es_event"

func TestAnInsertByHandAfterARefusedSaveLeavesNoGap(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	save(t, pool, "bank", request{none, nil, []event{moved("a", "alice")}})
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(context.Background()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			t.Error(err)
		}
	})
	refused := save(t, tx, "bank", request{none, account("alice"), []event{moved("b", "alice")}})
	if refused[0].Outcome != "context_changed" {
		t.Fatalf("the save is %s", refused[0].Outcome)
	}
	if _, err := tx.Exec(t.Context(),
		`INSERT INTO `+handTable+` (event_id, event_type, data) VALUES ('h1', 'T', '{}'), ('h2', 'T', '{}')`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantDense(t, pool.QueryRow, 3)
}

// wantDense checks that the boundary has so many events, at the positions that they should have.
func wantDense(t interface {
	Helper()
	Fatalf(string, ...any)
}, query func(context.Context, string, ...any) pgx.Row, want int,
) {
	t.Helper()
	var count, last int
	err := query(context.Background(),
		`SELECT count(*), coalesce(max(global_id), -1), orisun.check_positions('`+handTable+`') FROM `+handTable).
		Scan(&count, &last, nil)
	if err != nil || count != want || last != want-1 {
		t.Fatalf("%d events, the last one with global_id %d, %v; want %d events without a gap", count, last, err, want)
	}
}

// TestWhateverATransactionByHandDoesLeavesNoGap mixes all that people may do in psql, in any order, with savepoints and
// rollbacks.
func TestWhateverATransactionByHandDoesLeavesNoGap(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	rapid.Check(t, func(t *rapid.T) {
		conn, err := pool.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		if _, err := conn.Exec(context.Background(), `TRUNCATE `+handTable); err != nil {
			t.Fatal(err)
		}
		h := byHand{t: t, conn: conn.Conn()}
		for range rapid.IntRange(1, 3).Draw(t, "transactions") {
			h.transaction()
			wantDense(t, conn.QueryRow, len(h.events))
		}
	})
}

// byHand is a person in psql.
type byHand struct {
	t      *rapid.T
	conn   *pgx.Conn
	events []string // ids of those that are stored
}

func (h *byHand) exec(statement string, arguments ...any) error {
	_, err := h.conn.Exec(context.Background(), statement, arguments...)
	return err
}

func (h *byHand) must(statement string) {
	h.t.Helper()
	if err := h.exec(statement); err != nil {
		h.t.Fatalf("%s: %v", statement, err)
	}
}

func (h *byHand) transaction() {
	before := h.events
	h.must("BEGIN")
	for range rapid.IntRange(1, 6).Draw(h.t, "steps") {
		h.step()
	}
	if rapid.Bool().Draw(h.t, "commit") {
		h.must("COMMIT")
		return
	}
	h.must("ROLLBACK")
	h.events = before
}

// step does one thing within a savepoint, which is rolled back when that fails, and sometimes when it does not.
func (h *byHand) step() {
	before := h.events
	h.must("SAVEPOINT s")
	do := rapid.SampledFrom([]func() error{h.save, h.saveByFunction, h.insert, h.insertSelected, h.copy}).Draw(h.t, "do")
	err := do()
	var refused *pgconn.PgError
	if err != nil && (!errors.As(err, &refused) ||
		!strings.HasPrefix(refused.Code, "OR") && refused.ConstraintName != "bank_orisun_es_event_event_id_key") {
		h.t.Fatalf("failed without a reason: %v", err)
	}
	if err != nil || rapid.IntRange(0, 3).Draw(h.t, "rollback") == 0 {
		h.must("ROLLBACK TO s")
		h.events = before
		return
	}
	h.must("RELEASE s")
}

// ids are those of a few events: new ones mostly.
func (h *byHand) ids() (ids []string) {
	for range rapid.IntRange(1, 3).Draw(h.t, "events") {
		ids = append(ids, fmt.Sprint(len(ids), "-", rapid.IntRange(0, 30).Draw(h.t, "id")))
	}
	return ids
}

// save offers requests, some of which are refused.
func (h *byHand) save() error {
	var requests []request
	for range rapid.IntRange(1, 2).Draw(h.t, "requests") {
		r := request{expected: none}
		if rapid.Bool().Draw(h.t, "under a context") {
			r.criteria = account("alice")
		}
		for _, id := range h.ids() {
			r.events = append(r.events, moved(id, rapid.SampledFrom([]string{"alice", "bob"}).Draw(h.t, "account")))
		}
		requests = append(requests, r)
	}
	results, err := trySave(context.Background(), h.conn, "bank", requests...)
	for i, result := range results {
		if result.Outcome == "saved" {
			for _, e := range requests[i].events {
				h.events = append(h.events, e.id)
			}
		}
	}
	return err
}

func (h *byHand) saveByFunction() error {
	id := h.ids()[0]
	var transactionID, globalID int64
	err := h.conn.QueryRow(context.Background(),
		`SELECT transaction_id, global_id FROM orisun.insert_events_with_consistency('bank',
		'{"criteria": [{"tags": [{"key": "account", "value": "alice"}]}]}',
		  jsonb_build_array(jsonb_build_object('event_id', $1::text, 'event_type', 'T', 'data', '{}'::jsonb)))`, id).
		Scan(&transactionID, &globalID)
	if err == nil && globalID == int64(len(h.events)) {
		h.events = append(h.events, id)
	}
	return err
}

// insert stores events, of which ON CONFLICT may skip some.
func (h *byHand) insert() error {
	end := rapid.SampledFrom([]string{"", " ON CONFLICT DO NOTHING"}).Draw(h.t, "conflicts")
	ids := h.ids()
	tag, err := h.conn.Exec(context.Background(), `INSERT INTO `+handTable+` (event_id, event_type, data) VALUES ('`+
		strings.Join(ids, `', 'T', '{"account": "alice"}'), ('`)+`', 'T', '{}')`+end)
	h.events = append(h.events, ids[:tag.RowsAffected()]...)
	return err
}

func (h *byHand) insertSelected() error {
	ids := h.ids()
	err := h.exec(`INSERT INTO `+handTable+` (data, event_type, event_id) SELECT '{}', 'T', i.id FROM `+
		`unnest($1::text[]) AS i(id) ORDER BY i.id`, ids)
	h.events = append(h.events, ids...)
	return err
}

func (h *byHand) copy() error {
	ids := h.ids()
	var rows [][]any
	for _, id := range ids {
		rows = append(rows, []any{id, "T", "{}"})
	}
	_, err := h.conn.CopyFrom(context.Background(), pgx.Identifier{"public", "bank_orisun_es_event"},
		[]string{"event_id", "event_type", "data"}, pgx.CopyFromRows(rows))
	h.events = append(h.events, ids...)
	return err
}
