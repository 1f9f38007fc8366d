package service_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

const slowBoundary = "imports"

func saveBatch(ctx context.Context, store orisunpb.EventStoreClient, boundary, prefix string, size int) error {
	request := &orisunpb.SaveEventsRequest{Boundary: boundary}
	for i := range size {
		request.Events = append(request.Events, event(fmt.Sprint(prefix, "-", i), `{"kind": "a"}`))
	}
	_, err := store.SaveEvents(ctx, request)
	return err
}

// TestABoundaryThatIsStuckHoldsUpNoOther, however many wait for it: nothing is common to them, neither a queue nor a
// lock.
func TestABoundaryThatIsStuckHoldsUpNoOther(t *testing.T) {
	store, pool := dial(t)
	pgtest.Boundary(t, pool, slowBoundary)
	release := holdPositions(t, pool, slowBoundary)
	var waiting sync.WaitGroup
	for i := range 64 {
		waiting.Go(func() {
			if err := saveBatch(t.Context(), store, slowBoundary, fmt.Sprint("stuck-", i), 100); err != nil {
				t.Error(err)
			}
		})
	}
	waitForLocks(t, pool)
	for i := range 100 {
		if err := saveBatch(t.Context(), store, boundary, fmt.Sprint("free-", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: slowBoundary}); err != nil {
		t.Error("a reader of the boundary that is stuck:", err)
	}
	release()
	waiting.Wait()
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: slowBoundary, Count: 10_000})
	if err != nil || len(page.GetEvents()) != 6400 {
		t.Errorf("%d events and %v, want the 6,400 that waited", len(page.GetEvents()), err)
	}
}

// holdPositions takes the lock under which a boundary's positions are drawn.
func holdPositions(t *testing.T, pool *pgxpool.Pool, boundary string) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT orisun.lock_positions((SELECT number FROM orisun.boundary WHERE name = $1))`,
		boundary); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// waitForLocks returns when a session waits for a position.
func waitForLocks(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for waiting := false; !waiting; {
		err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database())`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkSaveBesideASlowBoundary saves one event at a time, alone and beside four clients that save 100 at a time
// into another boundary, and beside four that do so into the same one. Where the processors are few, they are what all
// share.
func BenchmarkSaveBesideASlowBoundary(b *testing.B) {
	for _, c := range []struct{ name, beside string }{
		{"alone", ""}, {"beside another", slowBoundary}, {"beside the same", boundary},
	} {
		b.Run(c.name, func(b *testing.B) {
			store, pool := dial(b)
			pgtest.Boundary(b, pool, slowBoundary)
			importing, end := context.WithCancel(b.Context())
			var importers sync.WaitGroup
			for i := range 4 {
				if c.beside == "" {
					break
				}
				importers.Go(func() {
					for batch := 0; importing.Err() == nil; batch++ {
						if err := saveBatch(importing, store, c.beside, fmt.Sprint(i, "-", batch), 100); err != nil &&
							importing.Err() == nil {
							b.Error(err)
							return
						}
					}
				})
			}
			took := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				begun := time.Now()
				if err := saveBatch(b.Context(), store, boundary, fmt.Sprint("one-", i), 1); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			end()
			importers.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
