package service_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// holdLock keeps the boundary's lock, so that saves queue up behind the first one, until release is called.
func holdLock(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT orisun.lock_positions((orisun.find_boundary($1)).number)",
		boundary); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func waitUntilASaveWaits(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for waits := false; !waits; {
		if err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)").
			Scan(&waits); err != nil {
			t.Fatalf("no save waits: %v", err)
		}
	}
}

// What PostgreSQL alone refuses, here by a constraint of the DBA's, fails its own save and none of those that went with
// it.
func TestANeighbourInTheSameFlushNeverSuffers(t *testing.T) {
	store, pool := dial(t)
	if _, err := pool.Exec(t.Context(),
		"ALTER TABLE public."+boundary+"_orisun_es_event "+
			"ADD CONSTRAINT no_poison CHECK (event_type <> 'Poison')"); err != nil {
		t.Fatal(err)
	}
	release := holdLock(t, pool)
	const saves = 40
	errs := make([]error, saves)
	var wait sync.WaitGroup
	for i := range saves {
		e := event(fmt.Sprint(i), `{}`)
		if i%10 == 5 {
			e.EventType = "Poison"
		}
		wait.Go(func() {
			_, errs[i] = store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: boundary, Events: []*orisunpb.EventToSave{e},
			})
		})
	}
	waitUntilASaveWaits(t, pool)
	release()
	wait.Wait()
	for i, err := range errs {
		want := codes.OK
		if i%10 == 5 {
			want = codes.InvalidArgument
		}
		if status.Code(err) != want {
			t.Errorf("save %d: %v, want %v", i, err, want)
		}
	}
	if n := count(t, pool); n != saves-4 {
		t.Errorf("%d events are stored, want %d", n, saves-4)
	}
}

func TestACallWhoseDeadlineEndsInTheQueueFailsAndStoresNothing(t *testing.T) {
	store, pool := dial(t)
	release := holdLock(t, pool)
	first := make(chan error, 1)
	go func() {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{event("first", `{}`)},
		})
		first <- err
	}()
	waitUntilASaveWaits(t, pool)
	hasty, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := store.SaveEvents(hasty, &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{event("hasty", `{}`)},
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
	}
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{event("last", `{}`)},
	}); err != nil {
		t.Error(err)
	}
	if n := count(t, pool); n != 2 {
		t.Errorf("%d events are stored, want 2", n)
	}
}

func TestABackendThatIsKilledUnderASaveIsAPauseForTheCaller(t *testing.T) {
	store, pool := dial(t)
	release := holdLock(t, pool)
	saved := make(chan error, 1)
	go func() {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{event("a", `{}`)},
		})
		saved <- err
	}()
	for range 3 {
		waitUntilASaveWaits(t, pool)
		terminate(t, pool, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	}
	release()
	if err := <-saved; err != nil {
		t.Errorf("got %v, want no more than a pause", err)
	}
	if n := count(t, pool); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
}
