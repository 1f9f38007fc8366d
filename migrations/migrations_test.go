package migrations_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/migrations/pgtest"
)

var update = flag.Bool("update", false, "replace testdata/schema.golden")

const golden = "testdata/schema.golden"

func TestTheSchemaIsTheGoldenOne(t *testing.T) {
	got := dump(t, pgtest.Clone(t))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the schema differs from %s; look at the difference, then `go test ./migrations -update` (-golden "+
			"+database):\n%s", golden, diff)
	}
}

func TestUpDownUpAndUpTwiceLeaveTheSameSchema(t *testing.T) {
	config := pgtest.NewEmpty(t)
	up(t, config)
	want := dump(t, config)
	if err := migrations.Down(t.Context(), config, migrations.DefaultTable); err != nil {
		t.Fatal(err)
	}
	if left := dump(t, config); left != "" {
		t.Errorf("down leaves:\n%s", left)
	}
	up(t, config)
	up(t, config)
	if diff := cmp.Diff(want, dump(t, config)); diff != "" {
		t.Errorf("up after down differs:\n%s", diff)
	}
}

func TestDownTakesEmptyBoundariesAndRefusesThoseWithEvents(t *testing.T) {
	config := pgtest.Clone(t)
	conn := connect(t, config)
	mustExec(t, conn, `SELECT orisun.initialize_boundary_tables('orders', 'shop')`)
	mustExec(t, conn, `SELECT orisun.insert_events_with_consistency('orders', '{}',
		'[{"event_id": "a", "event_type": "T", "data": {}}]')`)
	wantState(t, migrations.Down(t.Context(), config, migrations.DefaultTable), "OR008")
	mustExec(t, conn, `SELECT orisun.insert_events_with_consistency('orders', '{}',
		'[{"event_id": "b", "event_type": "T", "data": {}}]')`)

	mustExec(t, conn, `DELETE FROM shop.orders_orisun_es_event`)
	if err := migrations.Down(t.Context(), config, migrations.DefaultTable); err != nil {
		t.Fatal(err)
	}
	var tables int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace`).
		Scan(&tables); err != nil {
		t.Fatal(err)
	}
	if tables != 0 {
		t.Errorf("%d relations are left in the boundary's schema", tables)
	}
}

// TestPlainGooseUpIsWhatTheServerDoes runs what the goose command runs, with its default version table.
func TestPlainGooseUpIsWhatTheServerDoes(t *testing.T) {
	byHand, byServer := pgtest.NewEmpty(t), pgtest.NewEmpty(t)
	plainGooseUp(t, byHand)
	up(t, byServer)
	if diff := cmp.Diff(dump(t, byServer), dump(t, byHand)); diff != "" {
		t.Errorf("goose by hand and the server differ (-server +hand):\n%s", diff)
	}
	if err := migrations.Check(t.Context(), byHand, migrations.DefaultTable); err != nil {
		t.Errorf("the server does not recognise what goose did: %v", err)
	}
	if applied, err := migrations.Up(t.Context(), byHand, migrations.DefaultTable); err != nil || len(applied) != 0 {
		t.Errorf("the server applies %v after goose: %v", applied, err)
	}
	plainGooseUp(t, byServer)
}

func TestManyServersStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	config := pgtest.NewEmpty(t)
	var applied [6][]int64
	var errs [6]error
	var wait sync.WaitGroup
	for i := range applied {
		wait.Go(func() { applied[i], errs[i] = migrations.Up(t.Context(), config, migrations.DefaultTable) })
	}
	wait.Wait()
	migrated := 0
	for i := range applied {
		if errs[i] != nil {
			t.Errorf("server %d: %v", i, errs[i])
		}
		if len(applied[i]) > 0 {
			migrated++
		}
	}
	if migrated != 1 {
		t.Errorf("%d servers migrated, want one", migrated)
	}
}

func TestAnOldSchemaIsNamedWithTheWayOut(t *testing.T) {
	config := pgtest.NewEmpty(t)
	err := migrations.Check(t.Context(), config, migrations.DefaultTable)
	if !errors.Is(err, migrations.ErrPending) || !strings.Contains(err.Error(), "orisun migrate") ||
		!strings.Contains(err.Error(), "ORISUN_PG_AUTO_MIGRATE") {
		t.Errorf("got %v", err)
	}
	if left := dump(t, config); left != "" {
		t.Errorf("a check changes the database:\n%s", left)
	}
}

func TestAnotherApplicationsVersionTableIsNotTakenForOurs(t *testing.T) {
	config := pgtest.NewEmpty(t)
	conn := connect(t, config)
	mustExec(t, conn, `CREATE TABLE public.goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL,
		is_applied boolean NOT NULL, tstamp timestamp DEFAULT now())`)
	mustExec(t, conn, `INSERT INTO public.goose_db_version (version_id, is_applied) VALUES (0, true), (12, true)`)
	if _, err := migrations.Up(t.Context(), config, migrations.DefaultTable); !errors.Is(err, migrations.ErrForeignTable) {
		t.Fatalf("got %v, want ErrForeignTable", err)
	}
	if _, err := migrations.Up(t.Context(), config, "public.orisun_goose_db_version"); err != nil {
		t.Fatalf("with a table of our own: %v", err)
	}
	if _, err := migrations.Up(t.Context(), config, "public.yet_another"); !errors.Is(err, migrations.ErrForeignTable) {
		t.Fatalf("with the wrong table: got %v, want ErrForeignTable", err)
	}
}

// A role called orisun has our schema first in its search_path, by "$user".
func TestARoleNamedLikeTheSchemaMigratesTwice(t *testing.T) {
	config := pgtest.NewEmpty(t)
	conn := connect(t, config)
	mustExec(t, conn, `DO $$ BEGIN IF to_regrole('orisun') IS NULL THEN CREATE ROLE orisun SUPERUSER LOGIN PASSWORD
		'orisun'; END IF; END $$`)
	config.User, config.Password = "orisun", "orisun"
	up(t, config)
	up(t, config)
	mustExec(t, connect(t, config), `SELECT orisun.initialize_boundary_tables('orders', 'public')`)
	if applied, err := migrations.Up(t.Context(), config, migrations.DefaultTable); err != nil || len(applied) != 0 {
		t.Errorf("applied %v: %v", applied, err)
	}
}

func TestBoundariesAreMadeOnceAndStayWhereTheyAre(t *testing.T) {
	pool := pgtest.New(t)
	initialize := func(boundary, schema string) error {
		_, err := pool.Exec(t.Context(), `SELECT orisun.initialize_boundary_tables($1, $2, 'text')`, boundary, schema)
		return err
	}
	for range 2 {
		if err := initialize("orders", "Odd-Schema"); err != nil {
			t.Fatal(err)
		}
	}
	var tables string
	if err := pool.QueryRow(t.Context(), `SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
		WHERE relnamespace = '"Odd-Schema"'::regnamespace AND relkind IN ('r', 'S')`).Scan(&tables); err != nil {
		t.Fatal(err)
	}
	const want = "orders_orisun_es_event orders_orisun_es_event_global_id_seq " +
		"orders_orisun_last_published_event_position orders_projector_checkpoint"
	if tables != want {
		t.Errorf("got tables %s, want %s", tables, want)
	}
	wantState(t, initialize("orders", "public"), "OR006")
	mustExecPool(t, pool, `CREATE TABLE public.foreign_orisun_es_event ()`)
	wantState(t, initialize("foreign", "public"), "OR006")
	for _, name := range []string{"", "a b", "a.b", `a"b`, "1a", "ä", "a;", strings.Repeat("b", 27)} {
		wantState(t, initialize(name, "public"), "OR002")
		wantState(t, initialize("fine", strings.Repeat(name, 3)), "OR002")
	}
	if err := initialize(strings.Repeat("b", 26), "public"); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}

func up(t *testing.T, config *pgx.ConnConfig) {
	t.Helper()
	if _, err := migrations.Up(t.Context(), config, migrations.DefaultTable); err != nil {
		t.Fatal(err)
	}
}

func plainGooseUp(t *testing.T, config *pgx.ConnConfig) {
	t.Helper()
	database := stdlib.OpenDB(*config)
	defer func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	}()
	goose.SetLogger(goose.NopLogger())
	if err := goose.SetDialect("postgres"); err != nil {
		t.Fatal(err)
	}
	if err := gooseUp(t.Context(), database); err != nil {
		t.Fatal(err)
	}
}

func gooseUp(ctx context.Context, database *sql.DB) error {
	return goose.RunContext(ctx, "up", database, ".")
}

func connect(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
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
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func mustExecPool(t *testing.T, pool *pgxpool.Pool, statement string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
