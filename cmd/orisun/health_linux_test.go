package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	isServing  = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// The signals stop PostgreSQL as a hung machine does: its kernel still accepts connections. Then it is shut down:
// connections are refused.
func TestHealthAndReadinessSayTheSameWhenPostgreSQLStopsAndComesBack(t *testing.T) {
	data := t.TempDir()
	database := startPostgreSQL(t, data, 0)
	t.Cleanup(func() {
		if err := database.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	port := database.Port()
	server := launch(t, environment(t.TempDir(), "ORISUN_PG_HOST=127.0.0.1", "ORISUN_PG_PORT="+strconv.Itoa(port)))
	health := healthpb.NewHealthClient(dial(t, server.address))
	services := []string{"", "orisun.EventStore", "orisun.Admin"}
	ctx, cancel := context.WithTimeout(t.Context(), 4*startTimeout)
	defer cancel()
	watches := map[string]healthpb.Health_WatchClient{}
	for _, service := range services {
		watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		watches[service] = watch
	}
	// Both rest on the same checks: as soon as health has changed, /readyz has.
	wants := func(when string, want healthpb.HealthCheckResponse_ServingStatus, code int) {
		t.Helper()
		began := time.Now()
		for _, service := range services {
			answer, err := watches[service].Recv()
			if err != nil || answer.GetStatus() != want {
				t.Fatalf("%s: the health of %q is %v, %v, want %v", when, service, answer, err, want)
			}
			checked, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || checked.GetStatus() != want {
				t.Errorf("%s: a check of %q says %v, %v, want %v", when, service, checked, err, want)
			}
		}
		t.Logf("%s: noticed after %s", when, time.Since(began))
		if status, answer := readyz(t, server); status != code || answer.Ready != (code == http.StatusOK) {
			t.Errorf("%s: /readyz says %d %+v, want %d", when, status, answer, code)
		}
	}
	wants("at the start", isServing, http.StatusOK)

	signal := func(to syscall.Signal, pids ...int) {
		t.Helper()
		for _, pid := range pids {
			if err := syscall.Kill(pid, to); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGSTOP, database.PID()) // from now on it has no more children
	family := append(childrenOf(t, database.PID()), database.PID())
	signal(syscall.SIGSTOP, family...)
	t.Cleanup(func() { signal(syscall.SIGCONT, family...) })
	wants("PostgreSQL is frozen", notServing, http.StatusServiceUnavailable)
	signal(syscall.SIGCONT, family...)
	wants("PostgreSQL goes on", isServing, http.StatusOK)

	if err := database.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("PostgreSQL is shut down", notServing, http.StatusServiceUnavailable)
	database, family = startPostgreSQL(t, data, port), nil
	wants("PostgreSQL is started again", isServing, http.StatusOK)

	server.signal(t, syscall.SIGTERM)
	for _, service := range services {
		if answer, err := watches[service].Recv(); err != nil || answer.GetStatus() != notServing {
			t.Errorf("the drain: the health of %q is %v, %v", service, answer, err)
		}
	}
	if answer, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "orisun.Nothing"}); err == nil {
		t.Errorf("an unknown service is %v", answer)
	}
}

// childrenOf are the processes that a process has started and that still run.
func childrenOf(t *testing.T, parent int) (children []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, pid)
	}
	if len(children) == 0 {
		t.Fatalf("process %d has no children", parent)
	}
	return children
}
