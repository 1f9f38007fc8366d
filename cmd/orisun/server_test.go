package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

func TestThreeServersStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	database := outside(pgtest.NewEmpty(t))
	addresses := make([]string, 3)
	servers := make([]*process, 3)
	var starting sync.WaitGroup
	for i := range addresses {
		env := environment(t.TempDir(), append(database, fmt.Sprintf("ORISUN_NATS_SERVER_NAME=node-%d", i))...)
		starting.Go(func() {
			servers[i] = launch(t, env)
			addresses[i] = servers[i].address
		})
	}
	starting.Wait()
	waitFor(t, func() bool { // one projects the users, the others say once that they wait
		waiting := 0
		for _, server := range servers {
			waiting += strings.Count(server.logged(), "Failed to start user projection (likely due to lock contention)")
		}
		return waiting == 2
	})
	for i, address := range addresses {
		_, err := connect(t, address).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: strconv.Itoa(i), EventType: "T", Data: `{}`}},
		})
		if err != nil {
			t.Errorf("server %d: %v", i, err)
		}
	}
	page, err := connect(t, addresses[0]).GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_test_1"})
	if err != nil || len(page.GetEvents()) != 3 {
		t.Errorf("one server sees %d events of three servers: %v", len(page.GetEvents()), err)
	}
}

func TestAnOldSchemaIsRefusedWhenMigrationsAreTheDBAs(t *testing.T) {
	config := pgtest.NewEmpty(t)
	env := environment(t.TempDir(), append(outside(config), "ORISUN_PG_AUTO_MIGRATE=false")...)
	code, output := runToEnd(t, env)
	if code != exitFailed || !strings.Contains(output, "orisun migrate") {
		t.Errorf("exit code %d, want %d and the way out:\n%s", code, exitFailed, output)
	}
	if _, err := migrations.Up(t.Context(), config, migrations.DefaultTable); err != nil {
		t.Fatal(err)
	}
	launch(t, env)
}

func TestTheDefaultsServeWithAPostgreSQLOfTheirOwn(t *testing.T) {
	data := t.TempDir()
	server := launch(t, environment(data))
	store := connect(t, server.address)
	info, err := store.GetServerInfo(t.Context(), &orisunpb.GetServerInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.GetVersion() != "v0.0.1-test" || info.GetGitCommit() != "abc123" || info.GetBuildTime() != "2026-01-02" ||
		info.GetNodeId() != "orisun-nats-2" ||
		info.GetBackend() != orisunpb.StorageBackend_STORAGE_BACKEND_POSTGRES ||
		!slices.Contains(info.GetCapabilities(), orisunpb.ServerCapability_SERVER_CAPABILITY_COMMAND_CONTEXT_CONSISTENCY) {
		t.Errorf("server info: %v", info)
	}
	for _, step := range []string{"connect to PostgreSQL", "migrate", "initialize boundaries"} {
		if !strings.Contains(server.logged(), step) {
			t.Errorf("the start does not log %q:\n%s", step, server.logged())
		}
	}

	code, output := runToEnd(t, environment(data))
	if code != exitFailed || !strings.Contains(output, data+"/pg") {
		t.Errorf("a second server on the same directory: exit code %d, want %d and the directory named:\n%s",
			code, exitFailed, output)
	}
	if _, err := store.Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Errorf("the first server is disturbed: %v", err)
	}

	server.stop(t, syscall.SIGTERM)
	if _, err := os.Stat(data + "/pg/cluster/postmaster.pid"); !os.IsNotExist(err) {
		t.Errorf("PostgreSQL did not end with the server: %v", err)
	}
}

func TestPsqlGetsInByTCPWithTheConfiguredPassword(t *testing.T) {
	port := freePort(t)
	launch(t, environment(t.TempDir(), "ORISUN_PG_PORT="+strconv.Itoa(port), "ORISUN_PG_USER=owner",
		"ORISUN_PG_PASSWORD=s3cr3t'", "ORISUN_PG_NAME=mine"))
	for password, want := range map[string]bool{"s3cr3t'": true, "wrong": false} {
		config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=owner dbname=mine sslmode=disable", port))
		if err != nil {
			t.Fatal(err)
		}
		config.Password = password
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if (err == nil) != want {
			t.Errorf("password %s: %v", password, err)
		}
		if err == nil {
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAWrongConfigurationNamesEverythingAtOnce(t *testing.T) {
	code, output := runToEnd(t,
		environment(t.TempDir(), "ORISUN_GRPC_PORT=many", "ORISUN_ADMIN_BOUNDARY=nowhere", "ORISUN_LOGGING_LEVEL=LOUD"))
	if code != exitMisconfigured {
		t.Errorf("exit code %d, want %d", code, exitMisconfigured)
	}
	for _, name := range []string{"ORISUN_GRPC_PORT", "ORISUN_ADMIN_BOUNDARY", "ORISUN_LOGGING_LEVEL"} {
		if !strings.Contains(output, name) {
			t.Errorf("%s is not named:\n%s", name, output)
		}
	}
	if code, output := runToEnd(t, environment(t.TempDir()), "--no-such-flag"); code != exitMisconfigured {
		t.Errorf("an unknown flag: exit code %d, want %d:\n%s", code, exitMisconfigured, output)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	code, output := runToEnd(t, environment(t.TempDir(), "ORISUN_GRPC_PORT="+strconv.Itoa(port)))
	if code != exitFailed || !strings.Contains(output, "ORISUN_GRPC_PORT") ||
		!strings.Contains(output, strconv.Itoa(port)) {
		t.Errorf("exit code %d:\n%s", code, output)
	}
}

func TestAnUnknownVariableIsAWarningWithTheNearestName(t *testing.T) {
	server := launchWith(t, "ORISUN_GRPC_PROT=5006")
	if !strings.Contains(server.logged(), "ORISUN_GRPC_PROT") || !strings.Contains(server.logged(), "ORISUN_GRPC_PORT") {
		t.Errorf("the log does not warn:\n%s", server.logged())
	}
}

func TestCredentialsAreAskedOnceAndTheTokenTakesTheirPlace(t *testing.T) {
	server := launchWith(t)
	conn := dial(t, server.address)
	store := orisunpb.NewEventStoreClient(conn)
	ping := func(pairs ...string) (metadata.MD, error) {
		var header metadata.MD
		_, err := store.Ping(metadata.AppendToOutgoingContext(t.Context(), pairs...), &orisunpb.PingRequest{},
			grpc.Header(&header))
		return header, err
	}
	for name, pairs := range map[string][]string{
		"none": nil, "wrong": {"authorization", "Basic YWRtaW46d3Jvbmc="}, "garbage": {"authorization", "Basic %"},
		"a forged token": {"x-auth-token", "forged"},
	} {
		if _, err := ping(pairs...); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, want UNAUTHENTICATED", name, err)
		}
	}
	header, err := ping("authorization", "Basic YWRtaW46Y2hhbmdlaXQ=")
	if err != nil || len(header.Get("x-auth-token")) != 1 {
		t.Fatalf("%v, header %v", err, header)
	}
	if _, err := ping("x-auth-token", header.Get("x-auth-token")[0]); err != nil {
		t.Errorf("the token is refused: %v", err)
	}
	health, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health without credentials: %v, %v", health, err)
	}
}

func TestALimitOnMessagesIsTheConfiguredOne(t *testing.T) {
	server := launchWith(t, "ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE=2048",
		"ORISUN_GRPC_ENABLE_REFLECTION=false")
	_, err := connect(t, server.address).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1",
		Events:   []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{"a": "` + strings.Repeat("x", 2048) + `"}`}},
	})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a request above the limit: %v", err)
	}
	reflection := grpcreflect.NewClientAuto(t.Context(), dial(t, server.address))
	defer reflection.Reset()
	if services, err := reflection.ListServices(); status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection is switched off, but answers %v, %v", services, err)
	}
}

func TestAPostgreSQLThatCannotBeReachedIsNamed(t *testing.T) {
	config := pgtest.NewEmpty(t)
	code, output := runToEnd(t, environment(t.TempDir(), append(outside(config), "ORISUN_PG_NAME=no_such_database")...))
	if code != exitFailed || !strings.Contains(output, "no_such_database") {
		t.Errorf("exit code %d:\n%s", code, output)
	}
}

func TestASaveInFlightFinishesWhenTheServerDrains(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	store := connect(t, server.address)
	tx, release := holdPositions(t, config)
	saved := make(chan error, 1)
	go func() {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{}`}},
		})
		saved <- err
	}()
	waitFor(t, func() bool { return isWaiting(t, tx) })
	server.signal(t, syscall.SIGTERM)
	waitFor(t, func() bool { return strings.Contains(server.logged(), "draining") })
	release()
	if err := <-saved; err != nil {
		t.Errorf("a save in flight while the server drains: %v", err)
	}
}

// holdPositions keeps every save of orisun_test_1 waiting until release.
func holdPositions(t *testing.T, config *pgx.ConnConfig) (tx pgx.Tx, release func()) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if tx, err = conn.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(),
		`SELECT orisun.lock_positions((SELECT number FROM orisun.boundary WHERE name = 'orisun_test_1'))`); err != nil {
		t.Fatal(err)
	}
	return tx, func() {
		t.Helper()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// isWaiting reports whether a save waits for positions.
func isWaiting(t *testing.T, tx pgx.Tx) (waiting bool) {
	t.Helper()
	if err := tx.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`).
		Scan(&waiting); err != nil {
		t.Fatal(err)
	}
	return waiting
}

// waitFor returns when the condition holds, and fails the test when it does not within startTimeout.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if condition() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the condition does not come to hold")
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}
