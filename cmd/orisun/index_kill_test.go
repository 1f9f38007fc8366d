package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// buildUntilKilled kills a server while it builds an index, which a foreign snapshot keeps waiting. The snapshot is
// still there afterwards.
func buildUntilKilled(t *testing.T, server *process, database *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	foreign, err := pgx.ConnectConfig(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := foreign.Close(context.Background()); err != nil {
			t.Log(err) // its PostgreSQL may be gone
		}
	})
	if _, err := foreign.Exec(t.Context(), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()`); err != nil {
		t.Fatal(err)
	}
	store := connect(t, server.address)
	ended := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(context.Background(), &orisunpb.CreateIndexRequest{
			Boundary: "orisun_test_1", Name: "k", Fields: []*orisunpb.IndexField{{JsonKey: "k"}},
		})
		ended <- err
	}()
	waitFor(t, func() bool {
		list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: "orisun_test_1"})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.GetIndexes()) == 1 && strings.HasPrefix(list.GetIndexes()[0].GetProgress().GetPhase(), "waiting")
	})
	server.stop(t, syscall.SIGKILL)
	if err := <-ended; err == nil {
		t.Fatal("the index was built before the server was killed")
	}
	return foreign
}

func TestABuildThatDiesWithServerAndPostgreSQLIsGoneAfterTheNextStart(t *testing.T) {
	data := t.TempDir()
	server := launch(t, environment(data))
	pid, err := os.ReadFile(data + "/pg/cluster/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	const portLine = 3
	database, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%s user=postgres password=postgres dbname=orisun "+
		"sslmode=disable", strings.Split(string(pid), "\n")[portLine]))
	if err != nil {
		t.Fatal(err)
	}
	buildUntilKilled(t, server, database)

	store := connect(t, launch(t, environment(data)).address)
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: "orisun_test_1"})
	if err != nil || len(list.GetIndexes()) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	// The same name for something else: neither an index nor a definition of it is left.
	if _, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: "orisun_test_1", Name: "k", Fields: []*orisunpb.IndexField{{JsonKey: "other"}},
	}); err != nil {
		t.Error(err)
	}
}

// PostgreSQL does not notice that the server is gone, and continues the build.
func TestABuildWhoseServerDiesIsLeftToPostgreSQL(t *testing.T) {
	database := pgtest.Clone(t)
	data := t.TempDir()
	foreign := buildUntilKilled(t, launch(t, environment(data, outside(database)...)), database)

	store := connect(t, launch(t, environment(data, outside(database)...)).address)
	state := func() orisunpb.IndexState {
		answer, err := store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: "orisun_test_1", Name: "k"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetIndex().GetState()
	}
	if got := state(); got != orisunpb.IndexState_INDEX_STATE_BUILDING {
		t.Errorf("after the next start it is %v, want BUILDING", got)
	}
	if _, err := foreign.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return state() == orisunpb.IndexState_INDEX_STATE_READY })
}
