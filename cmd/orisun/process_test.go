package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// process is the real binary under test.
type process struct {
	cmd     *exec.Cmd
	address string // where it serves gRPC
	http    string // where it serves HTTP
	exited  chan error

	signalled syscall.Signal // the first signal it was sent
	mu        sync.Mutex
	log       bytes.Buffer
}

// startTimeout is how long a start may take on a busy machine, initdb included.
const startTimeout = 90 * time.Second

// environment is that of a server with ports and data of its own; more overrides it.
func environment(dataDir string, more ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_GRPC_PORT=0", "ORISUN_PG_PORT=0", "ORISUN_NATS_PORT=0",
		"ORISUN_ADMIN_HOST=127.0.0.1", "ORISUN_ADMIN_PORT=0",
		"ORISUN_PG_DATA_DIR=" + dataDir + "/pg", "ORISUN_NATS_STORE_DIR=" + dataDir + "/nats", "ORISUN_OTEL_ENABLED=false",
	}
	if dir := os.Getenv("ORISUN_PG_BIN_DIR"); dir != "" {
		env = append(env, "ORISUN_PG_BIN_DIR="+dir)
	}
	return append(env, more...)
}

// outside is the environment of a server that uses the PostgreSQL at config.
func outside(config *pgx.ConnConfig) []string {
	return []string{
		"ORISUN_PG_HOST=" + config.Host, "ORISUN_PG_PORT=" + strconv.Itoa(int(config.Port)), "ORISUN_PG_USER=" + config.User,
		"ORISUN_PG_PASSWORD=" + config.Password, "ORISUN_PG_NAME=" + config.Database,
	}
}

// launchWith starts the binary with settings and a database of its own in the PostgreSQL of the tests. That is quicker
// than a PostgreSQL of the server's own, which launch gives to a bare environment.
func launchWith(t testing.TB, settings ...string) *process {
	t.Helper()
	return launch(t, environment(t.TempDir(), append(outside(pgtest.Clone(t)), settings...)...))
}

// launch starts the binary and returns when it serves. The test's end stops it. What comes before it runs it.
func launch(t testing.TB, env []string, before ...string) *process {
	t.Helper()
	return launchProgram(t, env, binary, before...)
}

// launchProgram is launch for another program than the one built for the tests.
func launchProgram(t testing.TB, env []string, program string, before ...string) *process {
	t.Helper()
	run := append(slices.Clone(before), program)
	p := &process{cmd: exec.CommandContext(context.Background(), run[0], run[1:]...), exited: make(chan error, 1)}
	p.cmd.Env = env
	p.cmd.Dir = t.TempDir()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan [2]string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			var line struct{ Msg, GRPC, HTTP string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				serving <- [2]string{line.GRPC, line.HTTP}
			}
		}
		p.exited <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", p.logged())
		}
		p.stop(t, syscall.SIGTERM)
	})
	select {
	case addresses := <-serving:
		p.address, p.http = addresses[0], addresses[1]
	case err := <-p.exited:
		p.exited <- err
		t.Fatalf("the server ended before it served: %v\n%s", err, p.logged())
	case <-time.After(startTimeout):
		t.Fatalf("the server does not serve after %s:\n%s", startTimeout, p.logged())
	}
	return p
}

// runToEnd runs the binary until it ends by itself, and returns its exit code and what it said.
func runToEnd(t *testing.T, env []string, args ...string) (code int, output string) {
	t.Helper()
	return runToEndBy(t, nil, env, args...)
}

// runToEndBy has what comes before the binary run it.
func runToEndBy(t *testing.T, before, env []string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	run := slices.Concat(before, []string{binary}, args)
	cmd := exec.CommandContext(ctx, run[0], run[1:]...)
	cmd.Env = env
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("the command does not end:\n%s", out)
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// signal asks the process to end. A second time would cut what the first one lets finish.
func (p *process) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	p.signalled = signal
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// stop signals the process, unless that is done, and waits for its end.
func (p *process) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if p.signalled == 0 {
		p.signal(t, signal)
	}
	select {
	case err := <-p.exited:
		p.exited <- err
		if err != nil && p.signalled == syscall.SIGTERM {
			t.Errorf("the server did not end well: %v\n%s", err, p.logged())
		}
	case <-time.After(startTimeout):
		t.Errorf("the server does not end after %v:\n%s", signal, p.logged())
		if err := p.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// basic sends the default credentials with every call.
type basic struct{}

func (basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic YWRtaW46Y2hhbmdlaXQ="}, nil
}

func (basic) RequireTransportSecurity() bool { return false }

// connect dials a server with the default credentials.
func connect(t *testing.T, address string) orisunpb.EventStoreClient {
	t.Helper()
	return orisunpb.NewEventStoreClient(dial(t, address, grpc.WithPerRPCCredentials(basic{})))
}

func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}
