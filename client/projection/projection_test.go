package projection_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/clienttest"
	"github.com/oexza/orisun/client/internal/testserver"
	"github.com/oexza/orisun/client/projection"
)

var (
	server *testserver.Server
	dsn    string
)

func TestMain(m *testing.M) {
	os.Exit(testserver.Run(func(start func(...string) (*testserver.Server, error)) int {
		// The server's own PostgreSQL is the one that the tests project to.
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err == nil {
			port := listener.Addr().(*net.TCPAddr).Port
			err = listener.Close()
			dsn = fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/orisun", port)
			if err == nil {
				server, err = start("ORISUN_PG_PORT=" + strconv.Itoa(port))
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

func connect(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	schema := "s" + strconv.FormatInt(time.Now().UnixNano(), 36)
	config.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	return pool
}

func save(t *testing.T, c *client.Client, n int) {
	t.Helper()
	for i := range n {
		_, err := c.Save(
			t.Context(),
			"bank",
			client.Always,
			client.NewEvent{Type: "Deposited", Data: map[string]int{"amount": i + 1}},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

var errEnough = errors.New("enough")

// Each run ends by an error after some events, applied or in the middle of one; the sum is right all the same.
func TestEachEventIsAppliedOnceWhateverEndsBetween(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	_, err := pool.Exec(t.Context(), "CREATE TABLE balance (total bigint); INSERT INTO balance VALUES (0)")
	if err != nil {
		t.Fatal(err)
	}
	save(t, c, 50)
	applied, broken := 0, errors.New("broken")
	config := projection.Config[pgx.Tx]{
		Name: "balance", Boundary: "bank",
		Apply: func(ctx context.Context, tx pgx.Tx, event client.Event) error {
			var data struct{ Amount int64 }
			if err := event.Decode(&data); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "UPDATE balance SET total = total + $1", data.Amount); err != nil {
				return err
			}
			if applied++; applied%7 == 0 {
				return broken // and what was written is rolled back
			}
			if data.Amount == 50 {
				return errEnough
			}
			return nil
		},
	}
	for range 100 {
		if err := projection.Run(t.Context(), c, projection.PGX(pool), config); errors.Is(err, errEnough) {
			break
		} else if !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
	var total int64
	if err := pool.QueryRow(t.Context(), "SELECT total FROM balance").Scan(&total); err != nil || total != 49*50/2 {
		t.Errorf("%d, %v; want %d", total, err, 49*50/2)
	}
	config.Boundary = "other"
	err = projection.Run(t.Context(), c, projection.PGX(pool), config)
	if err == nil || !strings.Contains(err.Error(), `is of the boundary "bank"`) {
		t.Error(err)
	}
}

func TestARebuiltProjectionReplacesTheLiveOne(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	schema := pool.Config().ConnConfig.RuntimeParams["search_path"]
	db, err := sql.Open("pgx", dsn+"?search_path="+schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	store := projection.SQL(db)
	run := func(name string) <-chan error {
		if _, err := pool.Exec(t.Context(), "CREATE TABLE "+name+" (n int)"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- projection.Run(t.Context(), c, store, projection.Config[*sql.Tx]{
				Name: name, Boundary: "bank", Apply: func(ctx context.Context, tx *sql.Tx, _ client.Event) error {
					_, err := tx.ExecContext(ctx, "INSERT INTO "+name+" VALUES (1)")
					return err
				},
			})
		}()
		return ended
	}
	count := func(name string, want int) {
		t.Helper()
		for n := -1; n != want; {
			if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+name).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
	}
	save(t, c, 10)
	live := run("live")
	count("live", 10)
	exchange := func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "ALTER TABLE live RENAME TO old")
		return err
	}
	if err := projection.Switch(t.Context(), store, "live", "next", exchange); err == nil {
		t.Error("there is no next one")
	}
	run("next")
	count("next", 10)
	if err := projection.Switch(t.Context(), store, "live", "next", exchange); err != nil {
		t.Fatal(err)
	}
	save(t, c, 1)
	if err := <-live; !errors.Is(err, projection.ErrSwitched) {
		t.Error(err)
	}
	count("next", 11)
	count("old", 10)
	// The old version is started again, as a supervisor does: its table has the rows of the new one now.
	if err := <-run("live"); !errors.Is(err, projection.ErrSwitched) || !strings.Contains(err.Error(), `by "next"`) {
		t.Error(err)
	}
	count("live", 0)
	if err := projection.Switch(t.Context(), store, "live", "next", exchange); !errors.Is(err, projection.ErrSwitched) {
		t.Error(err)
	}
}

// Criteria of the new version may leave out events that the old one applies, as long as nothing is left to apply.
func TestASwitchToNarrowerCriteria(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	save(t, c, 3)
	if _, err := c.Save(t.Context(), "bank", client.Always, client.NewEvent{Type: "Noted"}); err != nil {
		t.Fatal(err)
	}
	store := projection.PGX(pool)
	run := func(name string, criteria client.Criteria) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		config := projection.Config[pgx.Tx]{
			Name: name, Boundary: "bank", Criteria: criteria,
			Apply: func(context.Context, pgx.Tx, client.Event) error { return nil },
			Progress: func(p projection.Progress) {
				if p.Left == 0 {
					cancel()
				}
			},
		}
		if err := projection.Run(ctx, c, store, config); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	run("wide", nil)
	run("narrow", client.Any(client.Type("Deposited")))
	run("nothing", client.Any(client.Type("Closed")))
	exchange := func(context.Context, pgx.Tx) error { return nil }
	for _, names := range [][2]string{{"wide", "narrow"}, {"narrow", "nothing"}} {
		if err := projection.Switch(t.Context(), store, names[0], names[1], exchange); err != nil {
			t.Error(err)
		}
	}
}

func TestSwitchRefusesWhatIsNoSwitch(t *testing.T) {
	c, pool := clienttest.New(t, "bank", "shop"), connect(t)
	store := projection.PGX(pool)
	for boundary, name := range map[string]string{"bank": "balances", "shop": "orders"} {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := c.Save(ctx, boundary, client.Always, client.NewEvent{Type: "Opened"}); err != nil {
			t.Fatal(err)
		}
		err := projection.Run(ctx, c, store, projection.Config[pgx.Tx]{
			Name: name, Boundary: boundary,
			Apply: func(context.Context, pgx.Tx, client.Event) error {
				cancel()
				return nil
			},
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cancel()
	}
	exchange := func(context.Context, pgx.Tx) error {
		t.Error("the tables are exchanged")
		return nil
	}
	for _, s := range []struct {
		live, next string
		exchange   func(context.Context, pgx.Tx) error
		want       string
	}{
		{"balances", "balances", exchange, "needs two projections"},
		{"balances", "orders", nil, "needs two projections and an exchange"},
		{"balances", "orders", exchange, `is of the boundary "bank"`},
		{"none", "orders", exchange, `there is no projection "none"`},
	} {
		err := projection.Switch(t.Context(), store, s.live, s.next, s.exchange)
		if err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%v, want %q", err, s.want)
		}
	}
	if err := projection.Setup(t.Context(), projection.Store[pgx.Tx]{}); err == nil {
		t.Error("a store without a database")
	}
}

func TestTheTableIsCreatedOnceAndNeedsNoRightAfterwards(t *testing.T) {
	pool := connect(t)
	store := projection.PGX(pool)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			if err := projection.Setup(t.Context(), store); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	// The account that runs the projection may be one that cannot create tables.
	schema := pool.Config().ConnConfig.RuntimeParams["search_path"]
	if _, err := pool.Exec(t.Context(), "REVOKE CREATE ON SCHEMA "+schema+" FROM CURRENT_USER"); err != nil {
		t.Fatal(err)
	}
	if err := projection.Setup(t.Context(), store); err != nil {
		t.Error(err)
	}
}

// A single connection survives a panic of Apply, and its error.
func TestAPanicOrAnErrorOfApplyLeavesTheConnectionUsable(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	save(t, c, 1)
	db, err := sql.Open("pgx", dsn+"?search_path="+pool.Config().ConnConfig.RuntimeParams["search_path"])
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	runs := map[string]func(apply func() error) error{
		"database/sql": func(apply func() error) error {
			return projection.Run(t.Context(), c, projection.SQL(db), projection.Config[*sql.Tx]{
				Name: "sql", Boundary: "bank", Apply: func(context.Context, *sql.Tx, client.Event) error { return apply() },
			})
		},
		"pgx": func(apply func() error) error {
			return projection.Run(t.Context(), c, projection.PGX(conn), projection.Config[pgx.Tx]{
				Name: "pgx", Boundary: "bank", Apply: func(context.Context, pgx.Tx, client.Event) error { return apply() },
			})
		},
	}
	for name, run := range runs {
		func() {
			defer func() {
				if r := recover(); r != "boom" {
					t.Errorf("%s: the panic became %v", name, r)
				}
			}()
			t.Error(run(func() error { panic("boom") }))
		}()
		for range 2 {
			if err := run(func() error { return errEnough }); !errors.Is(err, errEnough) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	save(t, c, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reports []projection.Progress
	err := projection.Run(ctx, c, projection.PGX(pool), projection.Config[pgx.Tx]{
		Name: "slow", Boundary: "bank",
		Apply: func(ctx context.Context, tx pgx.Tx, _ client.Event) error {
			_, err := tx.Exec(ctx, "SELECT pg_sleep(0.3)")
			return err
		},
		Progress: func(p projection.Progress) {
			reports = append(reports, p)
			cancel()
		},
	})
	if !errors.Is(err, context.Canceled) || len(reports) != 1 {
		t.Fatalf("%v, %d reports", err, len(reports))
	}
	if p := reports[0]; p.Applied < 1 || p.Left != 99-p.Position.GlobalID || p.Rate <= 0 || p.TimeLeft <= 0 {
		t.Errorf("%+v", p)
	}
}
