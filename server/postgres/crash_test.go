//go:build unix

package postgres

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentDataDir names the data directory to the test binary when it is to be the parent that gets killed.
const parentDataDir = "ORISUN_TEST_PARENT_DATA_DIR"

// parentGreeting is the first line that the parent prints.
type parentGreeting struct {
	PID int // PostgreSQL's
}

// runParent starts PostgreSQL, commits one row after the other, and prints the number of each that was acknowledged,
// until killed.
func runParent(dataDir string) {
	ctx := context.Background()
	cfg := Config{
		DataDir: dataDir, User: "postgres", Password: "secret", Database: "orisun", Durable: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	commit := func() error {
		s, err := Start(ctx, cfg)
		if err != nil {
			return err
		}
		conn, err := connect(ctx, cfg, s.Host(), s.Port())
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS acknowledged (n bigint PRIMARY KEY)"); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(parentGreeting{PID: s.PID()}); err != nil {
			return err
		}
		for {
			var n int64
			if err := conn.QueryRow(ctx,
				"INSERT INTO acknowledged SELECT coalesce(max(n), 0) + 1 FROM acknowledged RETURNING n").Scan(&n); err != nil {
				return err
			}
			if _, err := fmt.Println(n); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(os.Stderr, commit())
	os.Exit(1)
}

// killParent runs a parent, kills it after some acknowledged rows, and returns the last of them and PostgreSQL's pid.
func killParent(t *testing.T, dataDir string) (last int64, pid int) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(executable)
	parent.Env = append(os.Environ(), parentDataDir+"="+dataDir)
	parent.Stderr = t.Output()
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the parent says nothing: %v, %v", err, parent.Wait())
	}
	var greeting parentGreeting
	if err := json.Unmarshal(line, &greeting); err != nil {
		t.Fatal(err)
	}
	for acknowledged := 0; ; acknowledged++ {
		if acknowledged == 40 {
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last, err = strconv.ParseInt(strings.TrimSpace(line), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if err := parent.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the parent ended by itself: %v", err)
	}
	return last, greeting.PID
}

func TestKill9OfTheParentEndsPostgreSQLAndLosesNoAcknowledgedRow(t *testing.T) {
	for _, where := range []struct {
		name   string
		parent os.FileMode
	}{{"in an open directory", 0o755}, {"in a closed directory", 0o700}} {
		t.Run(where.name, func(t *testing.T) {
			t.Parallel()
			dir := stoppedCluster(t)
			if err := os.Chmod(filepath.Dir(dir), where.parent); err != nil {
				t.Fatal(err)
			}
			killParent(t, dir)
			// At once: the first PostgreSQL may be busy with its shutdown, and the next start has to wait for it or help it.
			last, pid := killParent(t, dir)
			if runtime.GOOS == "linux" { // elsewhere the next start ends it
				eventually(t, fmt.Sprintf("PostgreSQL (pid %d) ends after its parent", pid), func() (bool, error) {
					pids, err := serversIn(filepath.Join(dir, "cluster"))
					return len(pids) == 0, err
				})
			}
			s := start(t, config(t, dir))
			if got := value(t, s, "SELECT max(n)::text FROM acknowledged"); mustInt(t, got) < last {
				t.Errorf("%d was acknowledged, the last row is %s", last, got)
			}
			if got := value(t, s, "SELECT (max(n) - count(*))::text FROM acknowledged"); got != "0" {
				t.Errorf("%s rows are missing", got)
			}
		})
	}
}

func mustInt(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgreSQLKilledIsReportedAndItsOrphansAreEndedByTheNextStart(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	cfg.Durable = true
	first := start(t, cfg)
	execute(t, first, "CREATE TABLE stored AS SELECT 42 AS n")

	// A backend that computes does not notice that its postmaster is gone.
	busy := session(t, first)
	ctx, cancel := context.WithCancel(t.Context())
	var computed error
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		_, computed = busy.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000000) a")
	}()
	t.Cleanup(func() { cancel(); <-finished })
	watch := session(t, first)
	eventually(t, "the backend computes", func() (active bool, err error) {
		err = watch.QueryRow(t.Context(), "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1",
			busy.PgConn().PID()).Scan(&active)
		return active, err
	})
	if err := syscall.Kill(first.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	case <-time.After(testTimeout):
		t.Fatal("Done is open after PostgreSQL was killed")
	}
	if err := first.Err(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v, want an error that says it was killed", err)
	}
	stop(t, first)
	if err := first.Err(); err == nil {
		t.Error("Stop took the reason away")
	}

	if runtime.GOOS != "linux" { // elsewhere PostgreSQL refuses to start beside it, and says to end it
		if err := syscall.Kill(int(busy.PgConn().PID()), syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		<-finished
	}
	second := start(t, cfg)
	select {
	case <-finished:
		if computed == nil {
			t.Error("the orphan finished its query")
		}
	case <-time.After(testTimeout):
		t.Error("the orphan computes on beside the new server")
	}
	if got := value(t, second, "SELECT n::text FROM stored"); got != "42" {
		t.Errorf("got %s, want 42", got)
	}
}

// runStale runs PostgreSQL in the cluster of a stopped server as if its owner were gone.
func runStale(t *testing.T, s *Server) *process {
	t.Helper()
	sockets, err := makeSockets(s.dir, s.account)
	if err != nil {
		t.Fatal(err)
	}
	cmd := s.account.command(context.Background(), filepath.Join(s.bin.dir, "postgres"), "-D", s.cluster(),
		"-c", "listen_addresses=", "-c", "unix_socket_directories="+sockets)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	stale, err := spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stale.signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		<-stale.done
	})
	eventually(t, "the stale server is ready", func() (bool, error) {
		select {
		case <-stale.done:
			return false, fmt.Errorf("it ended: %w", stale.exit)
		default:
		}
		file, err := readPIDFile(s.cluster())
		return file.pid == cmd.Process.Pid && file.status == "ready", err
	})
	return stale
}

func TestAServerWhoseOwnerIsGoneIsShutDownFirst(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	first := start(t, cfg)
	stop(t, first)
	stale := runStale(t, first)
	start(t, cfg)
	<-stale.done
	if stale.exit != nil {
		t.Errorf("it was not shut down but ended with %v", stale.exit)
	}
}

func TestAServerThatDoesNotListenIsEndedByForce(t *testing.T) {
	// Not parallel: it shortens what the others rely on.
	graces := firmness
	t.Cleanup(func() { firmness = graces })
	firmness[0].grace, firmness[1].grace = 50*time.Millisecond, 50*time.Millisecond

	cfg := config(t, stoppedCluster(t))
	first := start(t, cfg)
	stop(t, first)
	stale := runStale(t, first)
	if err := stale.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	<-stale.done
	if stale.exit == nil || stale.exit.Error() != "signal: killed" {
		t.Errorf("it ended with %v, want signal: killed", stale.exit)
	}
}

func TestAPIDFileWhoseProcessIsAnotherProgramsHarmsNeither(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	first := start(t, cfg)
	stop(t, first)

	// Of PostgreSQL's account, as it ignores the process ids of others by itself; in the cluster's directory, as
	// a user's shell.
	program := first.account.command(context.Background(), "sleep", "600")
	program.Dir = first.cluster()
	other, err := spawn(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		<-other.done
	})
	pidfile := filepath.Join(first.cluster(), "postmaster.pid")
	content := fmt.Sprintf("%d\n%s\n1700000000\n5432\n/tmp\n127.0.0.1\n  1234567    123456\nready   \n",
		other.cmd.Process.Pid, first.cluster())
	if err := os.WriteFile(pidfile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.account.own(pidfile); err != nil {
		t.Fatal(err)
	}

	start(t, cfg)
	select {
	case <-other.done:
		t.Errorf("the other program was ended: %v", other.exit)
	default:
	}
}
