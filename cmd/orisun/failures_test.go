package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// problems are the lines of a log that are no mere information.
func problems(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"level":"INFO"`) && !strings.Contains(line, `"level":"DEBUG"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestEveryPortThatIsTakenIsNamedInOneLine(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	config := pgtest.Clone(t)
	for _, variable := range []string{
		"ORISUN_GRPC_PORT", "ORISUN_ADMIN_PORT", "ORISUN_PPROF_PORT", "ORISUN_NATS_PORT", "ORISUN_NATS_CLUSTER_PORT",
	} {
		env := append(outside(config), "ORISUN_PPROF_ENABLED=true", "ORISUN_PPROF_PORT=0", variable+"="+port)
		if variable == "ORISUN_NATS_CLUSTER_PORT" {
			env = append(env, "ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_PASSWORD=own",
				"ORISUN_NATS_CLUSTER_HOST=127.0.0.1", "ORISUN_NATS_CLUSTER_ROUTES=nats://127.0.0.1:1")
		}
		code, output := runToEnd(t, environment(t.TempDir(), env...))
		lines := problems(output)
		if last := lines[len(lines)-1]; code != exitFailed || !strings.Contains(last, variable) ||
			!strings.Contains(last, port) || !strings.Contains(last, "address already in use") {
			t.Errorf("%s: exit code %d, %q", variable, code, lines)
		}
	}
}

func TestAStoreThatCannotBeWrittenIsNamed(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(data+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := pgtest.Clone(t)
	for _, dir := range []string{data + "/file", "/proc/nats"} {
		code, output := runToEnd(t, environment(data, append(outside(config), "ORISUN_NATS_STORE_DIR="+dir)...))
		lines := problems(output)
		if last := lines[len(lines)-1]; code != exitFailed || !strings.Contains(last, "ORISUN_NATS_STORE_DIR") ||
			!strings.Contains(last, dir) {
			t.Errorf("%s: exit code %d, %q", dir, code, lines)
		}
	}
}

func TestAPostgreSQLThatIsNotThereYetIsWaitedFor(t *testing.T) {
	config := pgtest.Clone(t)
	port := freePort(t)
	waiting := exec.CommandContext(t.Context(), binary)
	var log output
	waiting.Stderr = &log
	waiting.Env = environment(t.TempDir(),
		append(outside(config), "ORISUN_PG_HOST=127.0.0.1", "ORISUN_PG_PORT="+strconv.Itoa(port))...)
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(log.String(), "PostgreSQL does not answer yet; waiting") })
	// PostgreSQL "starts": its port is forwarded.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	forwarding := forward(t, listener, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(config.Port))))
	waitFor(t, func() bool { return strings.Contains(log.String(), `"msg":"serving"`) })
	if lines := strings.Count(log.String(), "does not answer yet"); lines != 1 {
		t.Errorf("that PostgreSQL is away is logged %d times", lines)
	}
	if err := waiting.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := waiting.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	forwarding()
}

// A PostgreSQL that goes away in the midst of a start is waited for at every step of it. The last one looks for an
// admin.
func TestAPostgreSQLThatGoesAwayDuringAStartIsWaitedFor(t *testing.T) {
	config := pgtest.Clone(t)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `
		CREATE SEQUENCE public.looks;
		CREATE OR REPLACE FUNCTION orisun.list_users(p_boundary text) RETURNS SETOF orisun.user_account LANGUAGE plpgsql AS $$
		BEGIN
			IF nextval('public.looks') <= 2 THEN
				RAISE 'terminating connection due to administrator command' USING ERRCODE = '57P01';
			END IF;
			RETURN QUERY SELECT u.* FROM orisun.user_account u WHERE u.boundary = p_boundary;
		END $$`)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	server := launch(t, environment(t.TempDir(), outside(config)...))
	if lines := strings.Count(server.logged(), "PostgreSQL does not answer yet; waiting"); lines != 1 {
		t.Errorf("that PostgreSQL went away is logged %d times", lines)
	}
}

func TestASecondSignalEndsADrainAtOnce(t *testing.T) {
	config := pgtest.Clone(t)
	// A process that catches SIGINT starts others with its default, also where it inherited that it is ignored.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT)
	defer signal.Stop(interrupts)
	// which nothing comes near
	server := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_SHUTDOWN_TIMEOUT=10m")...))
	tx, release := holdPositions(t, config)
	defer release()
	saved := make(chan error, 1)
	store := connect(t, server.address)
	go func() {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{}`}},
		})
		saved <- err
	}()
	waitFor(t, func() bool { return isWaiting(t, tx) })
	server.signal(t, syscall.SIGTERM)
	waitFor(t, func() bool { return strings.Contains(server.logged(), "draining") })
	server.signal(t, syscall.SIGINT) // which is not SIGTERM, so that stop does not expect a good end
	server.stop(t, syscall.SIGINT)
	if status, ok := server.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended otherwise than by the second signal: %v", server.cmd.ProcessState)
	}
	if err := <-saved; err == nil {
		t.Error("the save in flight succeeded, though nothing let it")
	}
}

func TestADrainThatTakesTooLongIsCut(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_SHUTDOWN_TIMEOUT=200ms")...))
	tx, release := holdPositions(t, config)
	defer release()
	saved := make(chan error, 1)
	store := connect(t, server.address)
	go func() {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{}`}},
		})
		saved <- err
	}()
	waitFor(t, func() bool { return isWaiting(t, tx) })
	server.signal(t, syscall.SIGTERM)
	err := <-server.exited
	server.exited <- nil
	if err == nil || server.cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(server.logged(), "were cut") {
		t.Errorf("%v\n%s", err, server.logged())
	}
	if err := <-saved; err == nil {
		t.Error("the save in flight succeeded, though nothing let it")
	}
}
