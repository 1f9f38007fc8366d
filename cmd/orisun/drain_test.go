package main

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// TestAClientThatStopsReadingHoldsUpNoShutdown: nor does one that watches the health. A save in flight, which waits for a lock beyond the streams'
// grace, gets its answer all the same.
func TestAClientThatStopsReadingHoldsUpNoShutdown(t *testing.T) {
	const timeout = 10 * time.Minute // which nothing comes near
	database := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), append(outside(database), "ORISUN_SHUTDOWN_TIMEOUT="+timeout.String())...))
	client := connect(t, server.address)
	request := &orisunpb.SaveEventsRequest{Boundary: followedBoundary}
	for i := range 2000 { // far more than a connection holds
		request.Events = append(request.Events, &orisunpb.EventToSave{EventId: strconv.Itoa(i), EventType: "T", Data: `{"pad": "` + strings.Repeat("x", 10_000) + `"}`})
	}
	if _, err := client.SaveEvents(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	stalled := open(t, connect(t, server.address))
	if !expect(t, stalled, 0) {
		return
	}
	watch, err := healthpb.NewHealthClient(dial(t, server.address)).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	release := lockBoundary(t, database)
	saved := make(chan error, 1)
	go func() {
		_, err := client.SaveEvents(context.Background(), &orisunpb.SaveEventsRequest{
			Boundary: followedBoundary, Events: []*orisunpb.EventToSave{{EventId: "late", EventType: "T", Data: `{}`}},
		})
		saved <- err
	}()
	waitForLock(t, database)

	server.signal(t, syscall.SIGTERM)
	waitFor(t, func() bool { return strings.Contains(server.logged(), `"msg":"streams are still open`) })
	select {
	case err := <-saved:
		t.Fatalf("the save ended before its lock was free: %v", err)
	default:
	}
	release()
	if err := <-saved; err != nil {
		t.Errorf("a save in flight: %v", err)
	}
	server.stop(t, syscall.SIGTERM) // fails when it does not end well within startTimeout
}

// lockBoundary holds the lock under which positions are drawn, until release.
func lockBoundary(t *testing.T, database *pgx.ConnConfig) (release func()) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, statement := range []string{"BEGIN", `SELECT orisun.lock_positions((SELECT number FROM orisun.boundary WHERE name = '` + followedBoundary + `'))`} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
}

// waitForLock returns when somebody waits for it.
func waitForLock(t *testing.T, database *pgx.ConnConfig) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, func() (waiting bool) {
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database())`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		return waiting
	})
}
