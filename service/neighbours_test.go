package service_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// limitedPool is another pool on the database of pool, of so many connections and with a statement timeout.
func limitedPool(t *testing.T, pool *pgxpool.Pool, connections int32, timeout time.Duration) *pgxpool.Pool {
	t.Helper()
	config := pool.Config()
	config.MaxConns = connections
	config.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	limited, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(limited.Close)
	return limited
}

// fill stores events without going through a save.
func fill(t *testing.T, pool *pgxpool.Pool, events int) {
	t.Helper()
	_, err := pool.Exec(t.Context(),
		`INSERT INTO public.`+boundary+`_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'old' || g, 'T', jsonb_build_object('old', g::text)
		  FROM generate_series(0, $1::bigint - 1) g`, events)
	if err != nil {
		t.Fatal(err)
	}
}

func saveWhere(id string, expected *orisunpb.Position, criteria []*orisunpb.Criterion) *orisunpb.SaveEventsRequest {
	return &orisunpb.SaveEventsRequest{
		Boundary: boundary, Query: &orisunpb.SaveQuery{ExpectedPosition: expected, Criteria: criteria},
		Events: []*orisunpb.EventToSave{event(id, fmt.Sprintf(`{"key": %q}`, id))},
	}
}

// TestASaveThatRunsIntoTheStatementTimeoutFailsAlone has a save that sleeps where it is stored, in one flush with 24
// others.
func TestASaveThatRunsIntoTheStatementTimeoutFailsAlone(t *testing.T) {
	pool := bank(t)
	_, err := pool.Exec(t.Context(), `
		CREATE FUNCTION public.sleeps() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN true; END';
		ALTER TABLE public.`+boundary+`_orisun_es_event
		  ADD CONSTRAINT sleeps CHECK (event_type <> 'Slow' OR public.sleeps())`)
	if err != nil {
		t.Fatal(err)
	}
	store := node(t, limitedPool(t, pool, 8, 1500*time.Millisecond), nil, nil)
	service.SetCheckBudget(store, 300*time.Millisecond)
	release := holdLock(t, pool)
	const saves = 26
	errs := make([]error, saves)
	var saving sync.WaitGroup
	for i := range saves {
		in := saveWhere(fmt.Sprint(i), nil, tagged("key", fmt.Sprint(i)))
		if i == 13 {
			in.Events[0].EventType = "Slow"
		}
		saving.Go(func() { _, errs[i] = store.SaveEvents(t.Context(), in) })
	}
	until(t, "the saves are queued", func() bool { return service.QueuedSaves(store, boundary) == saves-1 })
	release()
	saving.Wait()
	for i, err := range errs {
		want := codes.OK
		if i == 13 {
			want = codes.DeadlineExceeded
		}
		if status.Code(err) != want {
			t.Errorf("save %d: %v, want %v", i, err, want)
		}
	}
	if n := count(t, pool); n != saves-1 {
		t.Errorf("%d events are stored, want %d", n, saves-1)
	}
}

// TestACheckAheadDecidesAsTheFlushDoes saves with a context that no index serves, over more events than are read under
// the boundary's lock.
func TestACheckAheadDecidesAsTheFlushDoes(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	const events = 5 * service.AheadTail
	fill(t, pool, events)
	save := func(in *orisunpb.SaveEventsRequest) (*orisunpb.WriteResult, error) {
		t.Helper()
		return store.SaveEvents(t.Context(), in)
	}
	conflict := func(in *orisunpb.SaveEventsRequest, at int64) {
		t.Helper()
		_, err := save(in)
		var info *errdetails.ErrorInfo
		for _, detail := range status.Convert(err).Details() {
			info, _ = detail.(*errdetails.ErrorInfo)
		}
		want := strconv.FormatInt(at, 10)
		if status.Code(err) != codes.AlreadyExists || info.GetReason() != "CONTEXT_CHANGED" ||
			info.GetMetadata()["actual_global_id"] != want {
			t.Errorf("%v with %v, want a conflict with the event %s", err, info, want)
		}
	}
	first, err := save(saveWhere("a", nil, tagged("key", "a")))
	if err != nil || first.GetLogPosition().GetGlobalId() != events {
		t.Fatalf("a save without a conflict: %v, %v", first, err)
	}
	if again, err := save(saveWhere("a", nil, tagged("key", "a"))); err != nil || again.GetNewGlobalId() != events {
		t.Errorf("the retried save: %v, %v", again, err)
	}
	conflict(saveWhere("b", nil, tagged("key", "a")), events)
	conflict(saveWhere("b", at(0, 0), tagged("old", "20000")), 20_000)
	conflict(saveWhere("b", at(101, 100), tagged("old", "101")), 101)
	conflict(saveWhere("b", at(101, 100), slices.Concat(tagged("old", "7"), tagged("old", "9000"))), 9000)
	conflict(saveWhere("b", at(100, 100), tagged("old", "7")), -1) // no event is there
	conflict(saveWhere("b", at(1, -5), tagged("old", "none")), -1) // nor there
	if _, err := save(saveWhere("old5", at(101, 100), tagged("old", "7"))); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("an event_id that is taken: %v", err)
	}
	if second, err := save(saveWhere("b", at(101, 100), tagged("old", "7"))); err != nil ||
		second.GetNewGlobalId() != events+1 {
		t.Errorf("an event that matches lies before the expected position: %v, %v", second, err)
	}
}

// TestSavesWithoutAnIndexDoNotDelayTheOthers compares an innocent writer alone and beside eight that save with contexts
// which no index serves.
func TestSavesWithoutAnIndexDoNotDelayTheOthers(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	fill(t, pool, 100_000)
	saved := 0
	innocent := func() time.Duration {
		t.Helper()
		took := make([]time.Duration, 21)
		for i := range took {
			begun := time.Now()
			saved++
			if _, err := store.SaveEvents(t.Context(), saveWhere(fmt.Sprint("innocent", saved), nil, nil)); err != nil {
				t.Fatal(err)
			}
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	alone := innocent()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var saving sync.WaitGroup
	checked := make(chan struct{}, 1)
	for writer := range 8 {
		saving.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprint(writer, "-", i)
				if _, err := store.SaveEvents(ctx, saveWhere(id, nil, tagged("key", id))); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				select {
				case checked <- struct{}{}:
				default:
				}
			}
		})
	}
	<-checked
	beside := innocent()
	stop()
	saving.Wait()
	t.Logf("median of a save: %s alone, %s beside", alone, beside)
	if beside > 40*alone {
		t.Errorf("a save without a context takes %s, and %s beside saves whose contexts no index serves", alone, beside)
	}
}

// TestElevenStuckBoundariesDoNotHoldUpATwelfth on a write pool of ten connections.
func TestElevenStuckBoundariesDoNotHoldUpATwelfth(t *testing.T) {
	pool := bank(t)
	store := node(t, limitedPool(t, pool, 10, time.Minute), nil, nil)
	saveIn := func(in, id string) error {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: in, Events: []*orisunpb.EventToSave{event(id, `{}`)},
		})
		return err
	}
	const slow = 11
	name := func(i int) string { return fmt.Sprint("slow_", i) }
	var held []func()
	for i := range slow {
		pgtest.Boundary(t, pool, name(i))
		if err := saveIn(name(i), "before"); err != nil {
			t.Fatal(err)
		}
		held = append(held, holdPositions(t, pool, name(i)))
	}
	errs := make(chan error, slow)
	for i := range slow {
		go func() { errs <- saveIn(name(i), "stuck") }()
	}
	waitForLocks(t, pool)
	for i := range 50 {
		if err := saveIn(boundary, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-errs:
		t.Errorf("a save of a stuck boundary: %v", err)
	default:
	}
	for _, release := range held {
		release()
	}
	for range slow {
		if err := <-errs; err != nil {
			t.Errorf("a save of a boundary that was stuck: %v", err)
		}
	}
}

// TestAHundredIndexesAtOnceAreBuiltOneAfterTheOther counts the sessions that make them.
func TestAHundredIndexesAtOnceAreBuiltOneAfterTheOther(t *testing.T) {
	pool := bank(t)
	pgtest.Boundary(t, pool, "other")
	pgtest.Boundary(t, pool, "third")
	store := node(t, pool, nil, nil)
	release := hold(t, pool)
	const calls = 100
	errs := make(chan error, calls)
	for i := range calls {
		go func() {
			_, err := store.CreateIndex(t.Context(), textIndex(fmt.Sprint("i", i), fmt.Sprint("k", i)))
			errs <- err
		}()
	}
	for range calls - 1 - service.MaxWaitingBuilds {
		err := <-errs
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("one too many: %v", err)
		}
	}
	in := func(boundary string) error {
		request := textIndex("i", "k")
		request.Boundary = boundary
		_, err := store.CreateIndex(t.Context(), request)
		return err
	}
	other := make(chan error, 2)
	go func() { other <- in("other") }()
	sessions := 0
	until(t, "another boundary's index is made", func() bool {
		err := pool.QueryRow(t.Context(),
			`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX%'`).
			Scan(&sessions)
		if err != nil {
			t.Fatal(err)
		}
		return sessions >= 2
	})
	go func() { other <- in("third") }()
	release()
	for range 1 + service.MaxWaitingBuilds {
		if err := <-errs; err != nil {
			t.Errorf("an index that waited: %v", err)
		}
	}
	for range cap(other) {
		if err := <-other; err != nil {
			t.Errorf("an index of another boundary: %v", err)
		}
	}
	if sessions != 2 {
		t.Errorf("%d sessions make indexes", sessions)
	}
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil || len(list.GetIndexes()) != 1+service.MaxWaitingBuilds {
		t.Errorf("%d indexes, %v", len(list.GetIndexes()), err)
	}
}
