// Package pgtest gives each test a migrated database of its own on a real PostgreSQL, private to the test binary.
//
// A machine without PostgreSQL fails the tests, never skips them: the error says how to get it. The server starts with
// the first database asked for and ends with the binary. It does not fsync: tests of durability start servers of their
// own. ORISUN_PG_BIN_DIR chooses another PostgreSQL than the newest one found.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/server/postgres"
)

const template = "orisun_template"

var (
	directory string // of the private server; set by Run
	running   atomic.Pointer[postgres.Server]
	databases atomic.Int64

	start    = sync.OnceValues(startServer)
	migrated = sync.OnceValue(migrateTemplate)
)

// Run runs the tests of a binary, then ends the private server if one was started. With PGTEST_HOLD set, a failed run
// waits for an interrupt first, so that one can look into the databases with the psql lines which the failed tests
// print.
func Run(m *testing.M) (code int) {
	var err error
	if directory, err = os.MkdirTemp("", "orisun-pgtest-"); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	code = m.Run()
	if code != 0 && os.Getenv("PGTEST_HOLD") != "" {
		fmt.Fprintln(os.Stderr, "pgtest: holding the databases; interrupt to end")
		select {}
	}
	if server := running.Load(); server != nil {
		if err := server.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = 1
		}
	}
	if err := os.RemoveAll(directory); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = 1
	}
	return code
}

// New returns a pool on a migrated database that has no boundary yet. It ends with the test.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	if err := migrated(); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return connect(t, create(t, template))
}

// NewEmpty returns how to connect to an empty database, which no migration has seen.
func NewEmpty(t testing.TB) *pgx.ConnConfig {
	t.Helper()
	return create(t, "template0")
}

// Clone returns how to connect to a migrated database that has no boundary yet.
func Clone(t testing.TB) *pgx.ConnConfig {
	t.Helper()
	if err := migrated(); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return create(t, template)
}

// Copy returns how to connect to a copy of another test's database, to which nothing is connected.
func Copy(t testing.TB, original *pgx.ConnConfig) *pgx.ConnConfig {
	t.Helper()
	return create(t, pgx.Identifier{original.Database}.Sanitize())
}

// Boundary makes a boundary in a database, in schema public.
func Boundary(t testing.TB, pool *pgxpool.Pool, name string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "SELECT orisun.initialize_boundary_tables($1, 'public')", name); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}

func connect(t testing.TB, config *pgx.ConnConfig) *pgxpool.Pool {
	t.Helper()
	pooled, err := pgxpool.ParseConfig("")
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	pooled.ConnConfig = config
	pooled.MaxConns = 32
	pool, err := pgxpool.NewWithConfig(t.Context(), pooled)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() { closePool(t, pool, closeTimeout) })
	return pool
}

// closeTimeout is how long a test that passed may still hold a connection.
const closeTimeout = 10 * time.Second

// closePool closes the pool. A test that stops at a failed statement leaves its transaction open, and pool.Close would
// wait for its end until the whole binary times out: that connection ends with the binary.
func closePool(t testing.TB, pool *pgxpool.Pool, timeout time.Duration) {
	t.Helper()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	if t.Failed() {
		return
	}
	select {
	case <-closed:
	case <-time.After(timeout):
		t.Errorf("pgtest: the test ended and still holds %d connections: end its transactions", pool.Stat().AcquiredConns())
	}
}

func create(t testing.TB, from string) *pgx.ConnConfig {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := execute(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	config, err := configFor(name)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("look inside (PGTEST_HOLD=1 keeps it): psql 'host=%s port=%d user=postgres dbname=%s'",
				config.Host, config.Port, name)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := execute(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return config
}

func startServer() (*postgres.Server, error) {
	if directory == "" {
		return nil, errors.New("the package's TestMain does not call pgtest.Run")
	}
	server, err := postgres.Start(context.Background(), postgres.Config{
		DataDir: directory + "/pg", BinDir: os.Getenv("ORISUN_PG_BIN_DIR"),
		User: "postgres", Password: "postgres", Database: "postgres",
		Settings: map[string]string{"max_connections": "200"},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	running.Store(server)
	return server, promote(server)
}

// promote makes the tests' role a superuser: they make roles, and look at what a server's role may not.
func promote(server *postgres.Server) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx,
		fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable",
			server.Host(), server.Port(), server.Superuser()))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER ROLE postgres SUPERUSER")
	return errors.Join(err, conn.Close(ctx))
}

func migrateTemplate() error {
	ctx := context.Background()
	if err := execute(ctx, "CREATE DATABASE "+template+" TEMPLATE template0"); err != nil {
		return err
	}
	config, err := configFor(template)
	if err != nil {
		return err
	}
	_, err = migrations.Up(ctx, config, migrations.DefaultTable)
	return err
}

func configFor(database string) (*pgx.ConnConfig, error) {
	server, err := start()
	if err != nil {
		return nil, err
	}
	return pgx.ParseConfig(strings.Join([]string{
		"host=" + server.Host(), fmt.Sprintf("port=%d", server.Port()), "user=postgres", "password=postgres",
		"dbname=" + database, "sslmode=disable",
	}, " "))
}

func execute(ctx context.Context, statement string) error {
	config, err := configFor("postgres")
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	if closed := conn.Close(ctx); err == nil {
		err = closed
	}
	return err
}
