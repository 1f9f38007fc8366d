//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWhatWasCommittedIsThereAfterACleanStopAndAWarmStart(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(emptyDir(t), "data", "pg"))
	cfg.Durable = true
	first := start(t, cfg)
	for setting, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
		"listen_addresses": "127.0.0.1",
		"server_encoding":  "UTF8", "lc_messages": "C",
	} {
		if got := value(t, first, "SHOW "+setting); got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
	if got := value(t, first, "SELECT datcollate FROM pg_database WHERE datname = 'orisun'"); got != "C" {
		t.Errorf("the database sorts by %s, want C", got)
	}
	execute(t, first, "CREATE TABLE stored AS SELECT 42 AS n")
	stop(t, first)
	stop(t, first) // again: it may be called many times

	select {
	case <-first.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if err := first.Err(); err != nil {
		t.Errorf("an asked end is no error, got %v", err)
	}
	if err := syscall.Kill(first.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is there after Stop: %v", first.PID(), err)
	}
	if _, err := os.Stat(first.Host()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's directory is there after Stop: %v", err)
	}

	second := start(t, cfg)
	if got := value(t, second, "SELECT n::text FROM stored"); got != "42" {
		t.Errorf("got %s, want 42", got)
	}
}

func TestWithoutDurableNothingWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	cfg.Settings = map[string]string{"max_connections": "37"}
	s := start(t, cfg)
	for setting, want := range map[string]string{
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "37",
	} {
		if got := value(t, s, "SHOW "+setting); got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}

func TestASecondServerOnTheSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	first := start(t, cfg)
	second, err := Start(t.Context(), cfg)
	if err == nil {
		stop(t, second)
	}
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	for _, want := range []string{first.dir, fmt.Sprintf("pid %d", os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if got := value(t, first, "SELECT 'alive'"); got != "alive" {
		t.Errorf("the first server says %q", got)
	}
}

func TestAFirstStartThatIsCutShortCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(emptyDir(t), "pg"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cut := cfg
	cut.Logger = slog.New(onMessage{text: "PostgreSQL: choose account", do: func() {
		go func() { // initdb is the next step: end it when it has begun to write
			defer cancel()
			if err := await(func() (bool, error) {
				files, err := filepath.Glob(filepath.Join(cfg.DataDir, "cluster.new", "PG_VERSION"))
				return len(files) == 1, err
			}); err != nil {
				t.Error(err)
			}
		}()
	}})
	if _, err := Start(ctx, cut); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "cluster")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("half a cluster is in the place of a whole one: %v", err)
	}
	start(t, cfg)
}

func TestStopWithoutTimeIsImmediateAndTheNextStartRecovers(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	cfg.Durable = true
	first := start(t, cfg)
	execute(t, first, "CREATE TABLE stored AS SELECT 42 AS n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want an error that says why the shutdown was immediate", err)
	}
	<-first.Done()
	if err := first.Err(); err != nil {
		t.Errorf("an asked end is no error, got %v", err)
	}
	second := start(t, cfg)
	if got := value(t, second, "SELECT n::text FROM stored"); got != "42" {
		t.Errorf("got %s, want 42", got)
	}
	if tail, err := second.logTail(); err != nil ||
		!strings.Contains(tail, "was not properly shut down; automatic recovery") {
		t.Errorf("the shutdown was not immediate: %s (%v)", tail, err)
	}
}

func TestAPathTooLongForASocketGetsAShortOne(t *testing.T) {
	t.Parallel()
	long := filepath.Join(emptyDir(t), strings.Repeat("long", 30))
	if err := os.Rename(stoppedCluster(t), long); err != nil {
		t.Fatal(err)
	}
	s := start(t, config(t, long))
	if got := value(t, s, "SELECT 'reached'"); got != "reached" {
		t.Errorf("got %q", got)
	}
	info, err := os.Stat(s.Host())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%s lets others in: %v", s.Host(), info.Mode())
	}
	stop(t, s)
	if _, err := os.Stat(s.Host()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there after Stop: %v", s.Host(), err)
	}
}

func TestADirectoryThatIsAClusterItselfIsNotTakenForAnEmptyOne(t *testing.T) {
	t.Parallel()
	dir := emptyDir(t)
	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), config(t, dir)); err == nil ||
		!strings.Contains(err.Error(), "is a PostgreSQL data directory itself") {
		t.Fatalf("got %v", err)
	}
}

func TestEveryMistakeInTheConfigurationIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{
		User: strings.Repeat(`"`, 64), Database: "a\x00b", Password: "p\x00", Port: 65536,
		Settings: map[string]string{"FSYNC": "off", "port": "1"},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"DataDir is empty", "Port (ORISUN_PG_PORT) is 65536", "User (ORISUN_PG_USER)", "64 bytes",
		"Database (ORISUN_PG_NAME)", "Password (ORISUN_PG_PASSWORD)", `Settings["FSYNC"]`, `Settings["port"]`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestANameThatIsNotFreeForTheConfiguredRoleIsRefused(t *testing.T) {
	t.Parallel()
	for _, user := range []string{superuser, heir, converter, "pg_monitor", "public", "none"} {
		cfg := config(t, emptyDir(t))
		cfg.User = user
		if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "ORISUN_PG_USER") ||
			!strings.Contains(err.Error(), "reserved") {
			t.Errorf("%s: got %v", user, err)
		}
	}
}

func TestTheOwnerOfADatabaseStays(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	cfg.User = "another"
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), `belongs to the role "postgres"`) ||
		!strings.Contains(err.Error(), "ORISUN_PG_USER") {
		t.Errorf("another role than the owner: %v", err)
	}
	cfg.Database = "mine" // one of its own
	s := start(t, cfg)
	execute(t, s, "CREATE TABLE public.made ()")
	if err := logIn(t, s, cfg.Password); err != nil {
		t.Error(err)
	}
}

// onMessage is a log handler that does something when a text is logged.
type onMessage struct {
	text string
	do   func()
}

func (onMessage) Enabled(context.Context, slog.Level) bool { return true }
func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.text {
		h.do()
	}
	return nil
}
func (h onMessage) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h onMessage) WithGroup(string) slog.Handler      { return h }
