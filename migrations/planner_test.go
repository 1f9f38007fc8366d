package migrations_test

import (
	"fmt"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestNoStatisticsMisleadThePlanner grows a boundary to where its statistics, made early, are all wrong, and asks what
// tempts a planner: to read all matches and sort them, or to walk back through everything that lies after the matches.
func TestNoStatisticsMisleadThePlanner(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustExecPool(t, pool, `ALTER TABLE public.bank_orisun_es_event SET (autovacuum_enabled = off)`)
	insert := func(first, n int, data string) {
		t.Helper()
		mustExecPool(t, pool, fmt.Sprintf(`
			INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
			SELECT g, g + 1, 'e' || g, 'T' || g %% 3, %s FROM generate_series(%d, %d) g`, data, first, first+n-1))
	}
	insert(0, 200, `jsonb_build_object('old', 'x', 'amount', g, 'hot', 'h' || g)`)
	for _, ix := range []index{
		textIndex("old", "old"), textIndex("hot", "hot"), textIndex("type", "event_type"), textIndex("pair", "hot", "old"),
		{name: "amount", fields: []field{{"amount", "NUMERIC"}}},
		{name: "some", fields: []field{{"amount", "TEXT"}}, conditions: []condition{{"event_type", "=", "T1"}}},
	} {
		mustIndex(t, pool, "bank", ix)
	}
	insert(200, 20_000, `jsonb_build_object('hot', 'yes', 'amount', 7)`)

	h := &history{pool, position{20_200, 20_199}}
	const most = 60 // a page of ten events, from five indexes at most, each with a root and a leaf or two to go through
	for name, criteria := range map[string][]criterion{
		"matches far back":                   {{{"old", "x"}}},
		"more matches than statistics say":   {{{"hot", "yes"}}},
		"no match":                           {{{"hot", "never"}}},
		"a typed index":                      {{{"amount", "7"}}},
		"a partial index":                    {{{"amount", "7"}, {"event_type", "T1"}}},
		"one of two indexes":                 {{{"event_type", "T1"}, {"hot", "yes"}}},
		"a pair":                             {{{"old", "x"}, {"hot", "h7"}}},
		"one criterion or another":           {{{"old", "x"}}, {{"hot", "yes"}}},
		"criteria of which one has no match": {{{"hot", "never"}}, {{"old", "x"}}, {{"amount", "9"}}},
		"a criterion twice":                  {{{"hot", "yes"}}, {{"hot", "yes"}}},
	} {
		for _, descending := range []bool{false, true} {
			got := explain(t, pool, "bank", query{criteria: criteria, descending: descending, count: 10})
			for _, scan := range got.Scans {
				if !scan.Served {
					t.Errorf("%s, descending %v: criteria %v are not served", name, descending, scan.Criteria)
				}
			}
			if got.Buffers > most {
				t.Errorf("%s, descending %v: %d buffers, want at most %d: %+v", name, descending, got.Buffers, most, got.Scans)
			}
		}
		w := workload{name, func(*history) string {
			return "SELECT * FROM orisun.get_latest_by_criteria('bank', '" + criteriaJSON(t, criteria) + "')"
		}}
		if n := h.buffers(t, w); n > most {
			t.Errorf("latest, %s: %d buffers, want at most %d", name, n, most)
		}
	}
	for name, save := range map[string]string{
		"no match":         conditionalSave(none, "hot", "never"),
		"long context":     conditionalSave(h.last, "hot", "yes"),
		"matches far back": conditionalSave(h.last, "old", "x"),
		"a typed index":    conditionalSave(h.last, "amount", "7"),
	} {
		if n := h.buffers(t, workload{name, func(*history) string { return save }}); n > 2*most {
			t.Errorf("save, %s: %d buffers, want at most %d", name, n, 2*most)
		}
	}
}

// TestManySavesWithoutAnIndexReadTheTailOnce: the events after the expected positions are read for all of them
// together.
func TestManySavesWithoutAnIndexReadTheTailOnce(t *testing.T) {
	h := newHistory(t, 20_000, 200)
	saves := func(n int) workload {
		return workload{fmt.Sprint(n, " saves"), func(*history) string {
			return fmt.Sprintf(`SELECT r.* FROM (
				SELECT array_agg(19000::bigint) AS tx, array_agg(18999::bigint) AS gid, array_agg(i) AS i,
				  array_agg(jsonb_build_object('note', 'm' || i)) AS c,
				       array_agg('new' || i) AS id, array_agg('T'::text) AS kind, array_agg('{}'::jsonb) AS data
				         FROM generate_series(1, %d) i) a
				CROSS JOIN LATERAL public.bank_orisun_save_requests(tx, gid, i, c, i, id, kind, data, data) r`, n)
		}}
	}
	few, many := h.buffers(t, saves(2)), h.buffers(t, saves(64))
	if each := (many - few) / 62; each > 20 {
		t.Errorf("2 saves touch %d buffers, 64 touch %d: %d more for each, where a thousand events lie on more",
			few, many, each)
	}
}
