package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/db/pgsession"
	"github.com/oexza/orisun/migrations/pgtest"
)

// session is one that has the settings of the server's.
func session(t testing.TB, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	prepared := config.Copy()
	pgsession.Prepare(prepared, pgsession.Planning)
	prepared.StatementCacheCapacity = 128
	conn, err := pgx.ConnectConfig(t.Context(), prepared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// private is the memory that a session's process has of its own.
func private(t testing.TB, conn *pgx.Conn) (bytes int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", conn.PgConn().PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "RssAnon:")
	if !found {
		t.Fatal("/proc reports no RssAnon")
	}
	if _, err := fmt.Sscanf(after, "%d kB", &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// manyTags is criteria that no event matches, with keys of their own.
func manyTags(criteria, tags int, key string) (made []string) {
	for c := range criteria {
		var pairs []string
		for k := range tags {
			pairs = append(pairs, fmt.Sprintf(`"%s%d": "none%d"`, key, k, c))
		}
		made = append(made, "{"+strings.Join(pairs, ",")+"}")
	}
	return made
}

// queried is a boundary with 100 events that have no tags, of which three keys have an index.
func queried(t *testing.T) *pgx.ConnConfig {
	t.Helper()
	config := pgtest.Clone(t)
	pool, err := pgxpool.New(t.Context(), config.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pgtest.Boundary(t, pool, "bank")
	mustExecPool(t, pool, `INSERT INTO public.bank_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'e' || g, 'T', '{}' FROM generate_series(0, 99) g`)
	for _, key := range []string{"i0", "i1", "i2"} {
		mustIndex(t, pool, "bank", textIndex(key, key))
	}
	return config
}

// ask runs the queries that take criteria, as the server does: a page, the latest events, a page of a subscription, and
// a save that is rolled back.
func ask(t *testing.T, conn *pgx.Conn, criteria []string) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var boundaries boundary.Boundaries
	own, err := boundaries.On(t.Context(), tx, "bank")
	if err != nil {
		t.Fatal(err)
	}
	queries := db.New()
	_, page := queries.ReadPage(t.Context(), own, db.ReadPageParams{Criteria: criteria, Count: 1000})
	_, latest := queries.ReadFirstOfEach(t.Context(), own, db.ReadFirstOfEachParams{
		Criteria: criteria, Descending: true, Count: 1,
	})
	_, followed := queries.FollowEvents(t.Context(), own, db.FollowEventsParams{
		Criteria: criteria, TransactionID: -1, GlobalID: -1, ScanWindow: 4096, Count: 1000,
	})
	requests := make([]int32, len(criteria))
	for i := range requests {
		requests[i] = 1
	}
	_, saved := queries.SaveRequests(t.Context(), own, db.SaveRequestsParams{
		ExpectedTransactionIds: []int64{-1}, ExpectedGlobalIds: []int64{-1}, CriterionRequests: requests, Criteria: criteria,
		EventRequests: []int32{1}, EventIds: []string{"new"}, EventTypes: []string{"T"}, Data: []string{"{}"},
		Metadata: []string{"{}"},
	})
	if err := errors.Join(page, latest, followed, saved, tx.Rollback(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestTheTimeOfATagDoesNotGrowWithTheirNumber compares requests of 128 tags with such of 1,024, which is the most that
// one may have.
func TestTheTimeOfATagDoesNotGrowWithTheirNumber(t *testing.T) {
	config := queried(t)
	for _, c := range []struct {
		name     string
		key      string
		criteria [2]int
		tags     int
	}{
		{"32 tags in a criterion, no index", "k", [2]int{4, 32}, 32},
		{"4 tags in a criterion, no index", "k", [2]int{32, 256}, 4},
		{"32 tags in a criterion, of which 3 have an index", "i", [2]int{4, 32}, 32},
		{"4 tags in a criterion, of which 3 have an index", "i", [2]int{32, 256}, 4},
	} {
		conn := session(t, config)
		var least [2]time.Duration
		for range 5 {
			for i, n := range c.criteria {
				began := time.Now()
				ask(t, conn, manyTags(n, c.tags, c.key))
				if took := time.Since(began); least[i] == 0 || took < least[i] {
					least[i] = took
				}
			}
		}
		t.Logf("%s: %s for 128 tags, %s for 1,024", c.name, least[0], least[1])
		// Eight times as many tags take eight times as long. When the time of a tag grew with their number it was 64 times.
		if least[1] > 24*least[0] {
			t.Errorf("%s: %s for 128 tags, %s for 1,024", c.name, least[0], least[1])
		}
	}
}

// TestASessionStaysSmallWhateverItIsAsked has a session read by criteria whose keys differ each time.
func TestASessionStaysSmallWhateverItIsAsked(t *testing.T) {
	config := queried(t)
	for _, c := range []struct {
		name           string
		queries, limit int
		criteria       func(i int) []string
	}{
		{"32 criteria with 32 keys", 30, 16 << 20, func(i int) []string { return manyTags(32, 32, fmt.Sprint("k", i, "_")) }},
		{"256 criteria with 4 keys", 30, 16 << 20, func(i int) []string { return manyTags(256, 4, fmt.Sprint("k", i, "_")) }},
		{"256 criteria of which an index serves each", 30, 16 << 20, func(i int) []string {
			made := manyTags(256, 3, "i")
			for n := range made {
				made[n] = strings.Replace(made[n], "}", fmt.Sprintf(`,"k%d_%d":"none"}`, i, n), 1)
			}
			return made
		}},
		{"4 MB of keys and values", 5, 64 << 20, func(i int) []string {
			made := manyTags(32, 32, fmt.Sprint(strings.Repeat("k", 240), i, "_"))
			for n := range made {
				made[n] = strings.ReplaceAll(made[n], "none", strings.Repeat("v", 4000))
			}
			return made
		}},
	} {
		conn := session(t, config)
		ask(t, conn, manyTags(1, 4, "i"))
		began := private(t, conn)
		for i := range c.queries {
			ask(t, conn, c.criteria(i))
		}
		cached := private(t, conn) - began
		t.Logf("%s: a session keeps %d kB of %d queries", c.name, cached>>10, 4*c.queries)
		if cached > c.limit {
			t.Errorf("%s: a session keeps %d kB of %d queries, more than %d", c.name, cached>>10, 4*c.queries, c.limit>>10)
		}
	}
}
