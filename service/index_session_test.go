package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// hold keeps a snapshot open, which every build of an index waits for; release lets builds go on.
func hold(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT txid_current()`); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return release
}

// until waits for a condition, as long as a build may take on a slow machine.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if condition() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// untilBuilding waits until PostgreSQL builds the index, and waits in its turn.
func untilBuilding(t *testing.T, store *service.EventStore, name string) {
	t.Helper()
	until(t, "the build waits", func() bool {
		answer, err := store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: name})
		if status.Code(err) == codes.NotFound {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		index := answer.GetIndex()
		return index.GetState() == orisunpb.IndexState_INDEX_STATE_BUILDING &&
			strings.HasPrefix(index.GetProgress().GetPhase(), "waiting")
	})
}

// wantNothingLeft checks what a build that failed must not leave: an index, a definition, the right to build.
func wantNothingLeft(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var relations, definitions int
	if err := pool.QueryRow(t.Context(),
		`SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'bank\_%\_idx'),
			(SELECT count(*) FROM orisun.boundary_index)`).
		Scan(&relations, &definitions); err != nil {
		t.Fatal(err)
	}
	if relations != 0 || definitions != 0 {
		t.Errorf("%d indexes and %d definitions are left", relations, definitions)
	}
	until(t, "the right to build is free", func() bool {
		var held bool
		if err := pool.QueryRow(t.Context(),
			`SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = orisun.index_class()::oid)`).
			Scan(&held); err != nil {
			t.Fatal(err)
		}
		return !held
	})
}

func TestACancelledBuildLeavesNothing(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	hold(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(ctx, textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	cancel()
	if err := <-built; status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want CANCELLED", err)
	}
	wantNothingLeft(t, pool)
}

func TestABuildEndsWhenTheServerDrains(t *testing.T) {
	pool := bank(t)
	serving, drain := context.WithCancel(context.Background())
	defer drain()
	store := node(t, pool, serving, nil)
	hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	drain()
	if err := <-built; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	wantNothingLeft(t, pool)
}

func TestABuildThatPostgreSQLEndsLeavesNothing(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	terminateBuilds(t, pool)
	if err := <-built; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	wantNothingLeft(t, pool)
}

func terminateBuilds(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	terminate(t, pool, "SELECT pid FROM pg_stat_progress_create_index")
}

// terminate ends the sessions whose pids a query selects, and returns when they are gone.
func terminate(t *testing.T, pool *pgxpool.Pool, pids string) {
	t.Helper()
	var ended []int32
	if err := pool.QueryRow(t.Context(),
		`SELECT COALESCE(array_agg(pid) FILTER (WHERE pg_terminate_backend(pid)), '{}') FROM (`+pids+`) AS s`).
		Scan(&ended); err != nil {
		t.Fatal(err)
	}
	until(t, "the terminated sessions are gone", func() bool {
		var gone bool
		if err := pool.QueryRow(t.Context(), `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY ($1))`, ended).
			Scan(&gone); err != nil {
			t.Fatal(err)
		}
		return gone
	})
}

// killedBuild leaves what a server leaves that is killed with its PostgreSQL: nothing is cleaned up.
func killedBuild(t *testing.T, pool *pgxpool.Pool, store *service.EventStore) {
	t.Helper()
	release := hold(t, pool)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT orisun.create_index('bank', 'account', ARRAY['account'], ARRAY['TEXT'])`)
	if err != nil {
		t.Fatal(err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), statements[0], pgx.QueryExecModeSimpleProtocol)
		ended <- err
	}()
	untilBuilding(t, store, "account")
	terminateBuilds(t, pool)
	if err := <-ended; err == nil {
		t.Fatal("the build was not killed")
	}
	release()
	var invalid int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_index WHERE NOT indisvalid`).
		Scan(&invalid); err != nil || invalid != 1 {
		t.Fatalf("a killed build leaves %d invalid indexes: %v", invalid, err)
	}
}

func TestWhatAKilledServerLeavesIsCleanedAtTheNextStart(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	killedBuild(t, pool, store)
	if list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary}); err != nil ||
		len(list.GetIndexes()) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	for range 2 {
		if err := store.CleanIndexes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantNothingLeft(t, pool)
}

func TestWhatAKilledServerLeavesBlocksNothing(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	killedBuild(t, pool, store)
	if _, err := store.CreateIndex(t.Context(), textIndex("account", "holder")); err != nil {
		t.Fatal(err)
	}
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil || len(list.GetIndexes()) != 1 || list.GetIndexes()[0].GetFields()[0].GetJsonKey() != "holder" {
		t.Errorf("listed: %v, %v", list, err)
	}
	if _, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{
		Boundary: boundary, Name: "account",
	}); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, pool)
}

func TestAStartLeavesTheBuildsOfOtherNodesAlone(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	release := hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	if err := node(t, pool, nil, nil).CleanIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-built; err != nil {
		t.Errorf("the build beside a start: %v", err)
	}
	if got, err := store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{
		Boundary: boundary, Name: "account",
	}); err != nil || got.GetIndex().GetState() != orisunpb.IndexState_INDEX_STATE_READY {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTwoNodesThatMakeOneIndexAtOnceBuildItOnce(t *testing.T) {
	pool := bank(t)
	release := hold(t, pool)
	built := make(chan error, 3)
	stores := []*service.EventStore{node(t, pool, nil, nil), node(t, pool, nil, nil), node(t, pool, nil, nil)}
	for _, store := range stores {
		go func() {
			_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
			built <- err
		}()
	}
	untilBuilding(t, stores[0], "account")
	relation := func() (oid uint32) {
		if err := pool.QueryRow(t.Context(), `SELECT to_regclass('public.bank_account_idx')::oid`).Scan(&oid); err != nil {
			t.Fatal(err)
		}
		return oid
	}
	first := relation()
	until(t, "the others wait", func() bool {
		var sessions int
		if err := pool.QueryRow(t.Context(),
			`SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%lock_indexes(p_boundary =>%' AND pid <> pg_backend_pid()`).
			Scan(&sessions); err != nil {
			t.Fatal(err)
		}
		return sessions == 2
	})
	release()
	for range stores {
		if err := <-built; err != nil {
			t.Error(err)
		}
	}
	if last := relation(); last != first || first == 0 {
		t.Errorf("the index was built again: relation %d, then %d", first, last)
	}
}

// Two CREATE INDEX CONCURRENTLY on one table would wait for each other's snapshot.
func TestManyIndexesAtOnceBesideSavesDoNotDeadlock(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	var saving sync.WaitGroup
	saving.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: boundary, Query: &orisunpb.SaveQuery{Criteria: tagged("k0", fmt.Sprint(i))},
				Events: []*orisunpb.EventToSave{event(fmt.Sprint(i), fmt.Sprintf(`{"k0": %d}`, i))},
			})
			if err != nil {
				t.Errorf("a save beside builds: %v", err)
				return
			}
		}
	})
	var building sync.WaitGroup
	for i := range 6 {
		building.Go(func() {
			for _, change := range []func() error{
				func() error {
					_, err := store.CreateIndex(t.Context(), textIndex(fmt.Sprint("i", i), fmt.Sprint("k", i)))
					return err
				},
				func() error {
					_, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: fmt.Sprint("i", i)})
					return err
				},
			} {
				if err := change(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	building.Wait()
	stop()
	saving.Wait()
	wantNothingLeft(t, pool)
}
