package main

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// TestAClientThatStopsReadingHoldsUpNoShutdown: nor does one that watches the health. A save in flight, which waits for
// a lock beyond the streams' grace, gets its answer all the same.
func TestAClientThatStopsReadingHoldsUpNoShutdown(t *testing.T) {
	const timeout = 10 * time.Minute // which nothing comes near
	database := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(),
		append(outside(database), "ORISUN_SHUTDOWN_TIMEOUT="+timeout.String())...))
	client := connect(t, server.address)
	saveMoreThanAConnectionHolds(t, client)
	stalled := eventtest.Open(t, connect(t, server.address))
	if !eventtest.Expect(t, stalled, 0) {
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
			Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{{EventId: "late", EventType: "T", Data: `{}`}},
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

// manyEvents are 20 MB.
const manyEvents = 2000

func saveMoreThanAConnectionHolds(t *testing.T, client orisunpb.EventStoreClient) {
	t.Helper()
	request := &orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary}
	for i := range manyEvents {
		request.Events = append(request.Events, &orisunpb.EventToSave{
			EventId: strconv.Itoa(i), EventType: "T", Data: `{"pad": "` + strings.Repeat("x", 10_000) + `"}`,
		})
	}
	if _, err := client.SaveEvents(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

// TestAStreamByHTTPWhoseClientStopsReadingHoldsUpNoShutdown, whatever the protocol: what waits for room in a connection
// does not notice a context's end.
func TestAStreamByHTTPWhoseClientStopsReadingHoldsUpNoShutdown(t *testing.T) {
	const timeout = 10 * time.Minute // which nothing comes near
	server := launchWith(t, "ORISUN_SHUTDOWN_TIMEOUT="+timeout.String())
	saveMoreThanAConnectionHolds(t, connect(t, server.address))
	before := 0
	for _, protocol := range []func(*http.Protocols){
		func(p *http.Protocols) { p.SetHTTP1(true) }, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		stall(t, server, protocol, "CatchUpSubscribeToEvents",
			`{"boundary":"`+eventtest.Boundary+`","afterPosition":{"transactionId":"-1","globalId":"-1"}}`)
		before = waitUntilItStalls(t, server, before)
	}
	server.stop(t, syscall.SIGTERM) // fails when it does not end well within startTimeout
}

// waitUntilItStalls returns how many events were delivered when one more subscription than before does not go on, for a
// second, though it has not had all.
func waitUntilItStalls(t *testing.T, server *process, before int) (delivered int) {
	t.Helper()
	count := regexp.MustCompile(`(?m)^orisun_feed_deliveries_total\{.*orisun_boundary="` + eventtest.Boundary +
		`".* (\S+)$`)
	moved := time.Now()
	waitFor(t, func() bool {
		_, metrics := ask(t, http.MethodGet, "http://"+server.http+"/metrics", "")
		now := 0
		for _, sample := range count.FindAllStringSubmatch(metrics, -1) {
			value, err := strconv.ParseFloat(sample[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			now += int(value)
		}
		if now != delivered {
			delivered, moved = now, time.Now()
		}
		return delivered > before && time.Since(moved) > time.Second
	})
	if delivered-before >= manyEvents {
		t.Fatalf("%d events were delivered to a client that does not read", delivered-before)
	}
	return delivered
}

// TestAnUnreadResponseByHTTPIsCutWhenTheTimeToDrainIsOver: an answer has that time, being no stream.
func TestAnUnreadResponseByHTTPIsCutWhenTheTimeToDrainIsOver(t *testing.T) {
	server := launchWith(t, "ORISUN_SHUTDOWN_TIMEOUT=200ms")
	saveMoreThanAConnectionHolds(t, connect(t, server.address))
	stall(t, server, func(p *http.Protocols) { p.SetHTTP1(true) }, "GetEvents",
		`{"boundary":"`+eventtest.Boundary+`","count":2000,"direction":"ASC"}`)
	server.signal(t, syscall.SIGTERM)
	err := <-server.exited
	server.exited <- nil
	if err == nil || server.cmd.ProcessState.ExitCode() != exitFailed ||
		!strings.Contains(server.logged(), "calls by HTTP in flight were cut") {
		t.Errorf("%v\n%s", err, server.logged())
	}
}

// stall calls by HTTP and reads no more than the header of what comes.
func stall(t *testing.T, server *process, protocol func(*http.Protocols), method, request string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	protocol(transport.Protocols)
	call, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+server.http+"/orisun.EventStore/"+method, strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	call.SetBasicAuth("admin", "changeit")
	call.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(call)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	t.Cleanup(func() {
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
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
	for _, statement := range []string{
		"BEGIN", `SELECT orisun.lock_positions((SELECT number FROM orisun.boundary WHERE name = '` +
			eventtest.Boundary + `'))`,
	} {
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

// waitForLock returns when a session waits for it.
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
