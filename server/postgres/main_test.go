//go:build unix

package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// timeout bounds every wait of the tests: it is reached only when something is broken.
const testTimeout = 30 * time.Second

func TestMain(m *testing.M) {
	// What would lead PostgreSQL astray if we let it see our environment.
	for name, value := range map[string]string{
		"PGPORT": "1", "PGDATA": "/nonexistent", "PGOPTIONS": "-c nonsense=1", "PGHOST": "203.0.113.1", "PGUSER": "stranger",
		"PGTZ": "Nowhere/Land", "LC_ALL": "xx_XX.UTF-8", "LANG": "xx_XX.UTF-8", "LANGUAGE": "xx",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	if dir := os.Getenv(parentDataDir); dir != "" {
		runParent(dir)
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if templateDir != "" {
			if err := os.RemoveAll(templateDir); err != nil {
				panic(err)
			}
		}
		os.Exit(code)
	}))
}

// config is a configuration as the tests of other packages would have it.
func config(t *testing.T, dataDir string) Config {
	t.Helper()
	return Config{
		DataDir: dataDir, User: "postgres", Password: "secret", Database: "orisun",
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// emptyDir is a directory that every account can reach, which t.TempDir is not.
func emptyDir(t *testing.T) string {
	t.Helper()
	dir, err := newDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newDir() (string, error) {
	dir, err := os.MkdirTemp("", "orisun-test-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

var (
	templateDir  string
	makeTemplate = sync.OnceValue(func() error {
		var err error
		if templateDir, err = newDir(); err != nil {
			return err
		}
		s, err := Start(context.Background(), Config{
			DataDir: filepath.Join(templateDir, "pg"), User: "postgres", Password: "secret",
			Database: "orisun", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		return s.Stop(context.Background())
	})
)

// stoppedCluster is a data directory with a cluster that was stopped, for the tests that are not about the first start.
func stoppedCluster(t *testing.T) string {
	t.Helper()
	if err := makeTemplate(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(emptyDir(t), "pg")
	if out, err := exec.Command("cp", "-a", filepath.Join(templateDir, "pg"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// start starts a server that the test need not stop.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// connect opens a connection to host as the role and to the database of cfg.
func connect(ctx context.Context, cfg Config, host string, port int) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=/ sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.User, config.Password, config.Database = host, uint16(port), cfg.User, cfg.Password,
		cfg.Database
	config.Fallbacks, config.RuntimeParams = nil, nil
	return pgx.ConnectConfig(ctx, config)
}

// session is a connection over the socket that ends with the test.
func session(t *testing.T, s *Server) *pgx.Conn {
	t.Helper()
	conn, err := connect(t.Context(), s.cfg, s.Host(), s.Port())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its server may be dead by now.
		if err := conn.Close(context.Background()); err != nil {
			t.Logf("close the session: %v", err)
		}
	})
	return conn
}

func execute(t *testing.T, s *Server, statement string) {
	t.Helper()
	if _, err := session(t, s).Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// value is the one value, as text, that a query returns.
func value(t *testing.T, s *Server, query string) string {
	t.Helper()
	var v string
	if err := session(t, s).QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() (bool, error)) {
	t.Helper()
	if err := await(holds); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func await(holds func() (bool, error)) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	timeout := time.After(testTimeout)
	for {
		ok, err := holds()
		if err != nil || ok {
			return err
		}
		select {
		case <-poll.C:
		case <-timeout:
			return fmt.Errorf("not within %v", testTimeout)
		}
	}
}
