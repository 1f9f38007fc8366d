package migrations_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations/pgtest"
)

var (
	bufferSizes = flag.String("buffers.events", "2000,20000", "BenchmarkBuffers: how many events the tables have")
	bufferDoc   = flag.String("buffers.doc", "",
		"BenchmarkBuffers: the page whose table, between its markers, is replaced")
)

// A history is a boundary "bank" with many events. Each belongs to one of many accounts, the oldest tenth to one
// account of its own, and an index finds them by it. Each has a note, too, which no index finds.
type history struct {
	pool *pgxpool.Pool
	last position
}

const longAccount = "long"

func newHistory(tb testing.TB, events, accounts int) *history {
	tb.Helper()
	pool := pgtest.New(tb)
	pgtest.Boundary(tb, pool, "bank")
	_, err := pool.Exec(tb.Context(), `
		INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'e' || g, 'MoneyMoved', jsonb_build_object(
		           'account', CASE WHEN g < $1 / 10 THEN $3 ELSE 'a' || g % $2 END, 'note', 'n' || g, 'text',
		             repeat('x', 150))
		  FROM generate_series(0, $1 - 1) g`, events, accounts, longAccount)
	if err != nil {
		tb.Fatal(err)
	}
	if err := createIndex(tb.Context(), pool, "bank", index{
		name: "account", fields: []field{{"account", "TEXT"}},
	}); err != nil {
		tb.Fatal(err)
	}
	if _, err := pool.Exec(tb.Context(), `VACUUM ANALYZE public.bank_orisun_es_event`); err != nil {
		tb.Fatal(err)
	}
	return &history{pool, position{int64(events), int64(events) - 1}}
}

// A workload is a statement whose cost must not grow with the history.
type workload struct {
	name      string
	statement func(h *history) string
}

func accounts(n int) string {
	criteria := make([]string, n)
	for i := range criteria {
		criteria[i] = fmt.Sprintf(`{"tags": [{"key": "account", "value": "a%d"}]}`, i)
	}
	return "[" + strings.Join(criteria, ", ") + "]"
}

// conditionalSave is a save whose context is one tag.
func conditionalSave(expected position, key, value string) string {
	return fmt.Sprintf(`SELECT * FROM orisun.insert_events_with_consistency('bank',
		'{"expected_position": {"transaction_id": %d, "global_id": %d}, "criteria": [{"tags": [{"key": %q, "value": %q}]}]}',
		'[{"event_id": "new", "event_type": "MoneyMoved", "data": {"account": %q, "note": "new"}}]')`,
		expected.transactionID, expected.globalID, key, value, value)
}

var workloads = []workload{
	{"page of 100 by one criterion", func(*history) string {
		return `SELECT * FROM orisun.get_matching_events('bank', '[{"tags": [{"key": "account", "value": "long"}]}]',
			p_count => 100)`
	}},
	{"page of 100 by one criterion, backwards", func(*history) string {
		return `SELECT * FROM orisun.get_matching_events('bank', '[{"tags": [{"key": "account", "value": "long"}]}]',
			p_descending => true, p_count => 100)`
	}},
	{"newest 10 of 20 criteria", func(*history) string {
		return `SELECT * FROM orisun.get_matching_events('bank', '` + accounts(20) + `', p_descending => true, p_count => 10)`
	}},
	{"latest of 20 criteria", func(*history) string {
		return `SELECT * FROM orisun.get_latest_by_criteria('bank', '` + accounts(20) + `')`
	}},
	{"CCC save, fresh position", func(h *history) string { return conditionalSave(h.last, "account", "a7") }},
	{
		"CCC save, fresh position, long context",
		func(h *history) string { return conditionalSave(h.last, "account", longAccount) },
	},
	{"CCC save that expects nothing", func(*history) string { return conditionalSave(none, "account", "stranger") }},
	{"CCC save, fresh position, no index", func(h *history) string { return conditionalSave(h.last, "note", "n7") }},
	{"page of 100 of the whole boundary", func(*history) string {
		return `SELECT * FROM orisun.get_matching_events('bank', p_count => 100)`
	}},
	{"subscription to a rare account, a page", func(*history) string {
		return `SELECT * FROM public.bank_orisun_follow_events(ARRAY['{"account": "stranger"}']::jsonb[], -1, -1, 4096, 1000)`
	}},
}

// buffers is how many pages of 8 kB a statement touches, cached or not, planning and everything that its functions run
// included. It is measured when all that a session keeps, such as the catalogue, is there, and nothing remains of what
// the statement did.
func (h *history) buffers(tb testing.TB, w workload) (n int) {
	tb.Helper()
	tx, err := h.pool.Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for range 3 {
		n = touched(tb, tx, w.statement(h))
	}
	if err := tx.Rollback(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return n
}

// touched runs a statement in a transaction, rolls it back, and returns how many pages it touched.
func touched(tb testing.TB, tx pgx.Tx, statement string) int {
	tb.Helper()
	inner, err := tx.Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	text := ""
	if err := inner.QueryRow(tb.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+statement).Scan(&text); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
	if err := inner.Rollback(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		tb.Fatal(err)
	}
	return plans[0].Plan.Hit + plans[0].Plan.Read
}

func TestPagesThatAQueryTouchesDoNotGrowWithTheHistory(t *testing.T) {
	small, large := newHistory(t, 2_000, 200), newHistory(t, 20_000, 200)
	for _, w := range workloads {
		before, after := small.buffers(t, w), large.buffers(t, w)
		if before == 0 || after > 2*before {
			t.Errorf("%s: %d buffers of 2,000 events, %d of 20,000", w.name, before, after)
		}
	}
}

// BenchmarkBuffers makes the table of docs/benchmarks.md (make bench-buffers). Buffers are the same on every machine.
func BenchmarkBuffers(b *testing.B) {
	var sizes []int
	for text := range strings.SplitSeq(*bufferSizes, ",") {
		size, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		sizes = append(sizes, size)
	}
	measured := make([][]int, len(workloads))
	for _, size := range sizes {
		h := newHistory(b, size, 5_000)
		for i, w := range workloads {
			measured[i] = append(measured[i], h.buffers(b, w))
			b.ReportMetric(float64(measured[i][len(measured[i])-1]),
				strings.ReplaceAll(fmt.Sprintf("%s/%d", w.name, size), " ", "_"))
		}
	}
	if *bufferDoc != "" {
		if err := writeBuffers(*bufferDoc, sizes, measured); err != nil {
			b.Fatal(err)
		}
	}
}

const buffersIntroduction = `
## Buffers

How many pages of 8 kB, cached or not, a query touches, planning and everything that its functions run included; so the
numbers are the same on every machine. The boundary has that many events over 5,000 accounts, and the oldest tenth of
them belong to one account of its own, the long context. One index is on the
account. ` + "`make bench-buffers`" + ` makes this table.

`

// writeBuffers puts the table between its markers, and those at the end of a page that has none.
func writeBuffers(page string, sizes []int, measured [][]int) error {
	const begin, end = "<!-- buffers -->\n", "<!-- /buffers -->\n"
	text, err := os.ReadFile(page)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte("# Benchmarks\n"), nil
	}
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		before, after = string(text)+buffersIntroduction, ""
	}
	table := "| events |"
	for _, size := range sizes {
		table += " " + thousands(size) + " |"
	}
	table += " largest to smallest |\n|---|" + strings.Repeat("---:|", len(sizes)+1) + "\n"
	for i, w := range workloads {
		table += "| " + w.name + " |"
		for _, n := range measured[i] {
			table += fmt.Sprintf(" %d |", n)
		}
		table += fmt.Sprintf(" %.2f |\n", float64(slices.Max(measured[i]))/float64(measured[i][0]))
	}
	return os.WriteFile(page, []byte(before+begin+table+end+after), 0o644)
}

func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
