package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/postgres"
)

// TestAnImmediateRestartOfPostgreSQLUnderLoadIsAPause ends PostgreSQL as a crash does and starts it again, twice, under
// 64 writers.
func TestAnImmediateRestartOfPostgreSQLUnderLoadIsAPause(t *testing.T) {
	data := t.TempDir()
	database := startPostgreSQL(t, data, 0)
	port := database.Port()
	t.Cleanup(func() {
		if err := database.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server := launch(t, environment(t.TempDir(), "ORISUN_PG_HOST="+database.Host(), "ORISUN_PG_PORT="+strconv.Itoa(port)))
	store := connect(t, server.address)

	acks := &acknowledged{positions: map[string]int64{}}
	var saved atomic.Int64
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				id := fmt.Sprintf("w%d-%d", w, i)
				deadline, cancel := context.WithTimeout(t.Context(), startTimeout)
				answer, err := store.SaveEvents(deadline, &orisunpb.SaveEventsRequest{
					Boundary: "orisun_test_1",
					Query:    &orisunpb.SaveQuery{Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "id", Value: id}}}}},
					Events:   []*orisunpb.EventToSave{{EventId: id, EventType: "Written", Data: fmt.Sprintf(`{"id": %q}`, id)}},
				})
				cancel()
				if err != nil {
					t.Errorf("save %s: %v", id, err)
					return
				}
				acks.note(id, answer.GetLogPosition().GetGlobalId())
				saved.Add(1)
			}
		})
	}
	for range 2 {
		goal := saved.Load() + 300
		waitFor(t, func() bool { return saved.Load() > goal || t.Failed() })
		if err := syscall.Kill(database.PID(), syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		<-database.Done()
		if err := database.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		database = startPostgreSQL(t, data, port)
	}
	goal := saved.Load() + 300
	waitFor(t, func() bool { return saved.Load() > goal || t.Failed() })
	stop()
	writers.Wait()
	compare(t, store, acks)
	if n := len(acks.positions); int64(n) != saved.Load() {
		t.Errorf("%d saves were acknowledged, %d ids noted", saved.Load(), n)
	}
}

// startPostgreSQL starts one that is not the server's own. The caller stops it.
func startPostgreSQL(t *testing.T, data string, port int) *postgres.Server {
	t.Helper()
	database, err := postgres.Start(t.Context(), postgres.Config{
		DataDir: data + "/pg", Port: port, User: "postgres", Password: "postgres", Database: "orisun", Durable: true,
		Settings: map[string]string{"max_connections": "50"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return database
}
