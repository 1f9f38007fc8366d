package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db/pgsession"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// hostile are settings of a database or role with which the server would save wrong, slowly or not at all.
var hostile = map[string]string{
	"client_encoding": "LATIN1", "default_transaction_isolation": "repeatable read", "default_transaction_read_only": "on",
	"row_security": "on",
	"search_path":  "nowhere", "TimeZone": "Asia/Kathmandu", "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601",
	"standard_conforming_strings": "off",
	"transform_null_equals":       "on", "quote_all_identifiers": "on", "lock_timeout": "10",
	"idle_in_transaction_session_timeout": "10",
	"enable_indexscan":                    "off", "enable_indexonlyscan": "off", "enable_nestloop": "off", "jit": "on",
	"extra_float_digits": "-5",
}

// spoil gives the database of config the hostile settings.
func spoil(t *testing.T, config *pgx.ConnConfig) {
	t.Helper()
	var all strings.Builder // in one session, since they hold from the next one on
	for name, value := range hostile {
		fmt.Fprintf(&all, "ALTER DATABASE %s SET %s = '%s';", config.Database, name, value)
	}
	executeOn(t, config, all.String())
}

func executeOn(t *testing.T, config *pgx.ConnConfig, statement string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestASessionHasOurSettingsWhateverTheDatabaseSays(t *testing.T) {
	config := pgtest.NewEmpty(t)
	spoil(t, config)
	read := func(config *pgx.ConnConfig, name string) (value string) {
		t.Helper()
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), "SELECT pg_catalog.current_setting($1)", name).Scan(&value); err != nil {
			t.Error(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		return value
	}
	ours := config.Copy()
	pgsession.Prepare(ours, pgsession.Planning)
	for name, value := range hostile {
		theirs := read(config, name)
		if theirs != value && !strings.HasPrefix(theirs, value) { // 10 is shown as 10ms
			t.Errorf("%s is %q in any session, want %q", name, theirs, value)
		}
		if got := read(ours, name); got == theirs {
			t.Errorf("%s is %q in a session of ours, too", name, got)
		}
	}
}

func TestSettingsOfTheDatabaseChangeNothing(t *testing.T) {
	config := pgtest.NewEmpty(t)
	spoil(t, config)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	saveUnderContext(t, server, "Zoë 北京")
}

// saveUnderContext saves an event, and checks that what it holds is found and protects its context.
func saveUnderContext(t *testing.T, server *process, name string) {
	t.Helper()
	store := connect(t, server.address)
	context := []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "name", Value: name}}}}
	save := func(id string, criteria []*orisunpb.Criterion) error {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Query: &orisunpb.SaveQuery{Criteria: criteria},
			Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{"name": "` + name + `"}`}},
		})
		return err
	}
	_, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: "orisun_test_1", Name: "name", Fields: []*orisunpb.IndexField{{JsonKey: "name"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := save("a", context); err != nil {
		t.Fatal(err)
	}
	if err := save("b", context); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a save whose context changed: %v", err)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: "orisun_test_1", Query: &orisunpb.Query{Criteria: context},
	})
	if err != nil || len(page.GetEvents()) != 1 || !strings.Contains(page.GetEvents()[0].GetData(), name) {
		t.Errorf("the page is %v, %v; want one event of %s", page, err, name)
	}
	ctx, end := contextWithEnd(t)
	defer end()
	subscription, err := store.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_test_1", AfterPosition: &orisunpb.Position{TransactionId: -1, GlobalId: -1}, SubscriberName: "s",
	})
	if err != nil {
		t.Fatal(err)
	}
	if event, err := subscription.Recv(); err != nil || !strings.Contains(event.GetData(), name) {
		t.Errorf("the subscription brings %v, %v", event, err)
	}
}

func contextWithEnd(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), startTimeout)
}

func TestADatabaseOfAnotherEncodingIsRefused(t *testing.T) {
	config := pgtest.NewEmpty(t)
	name := config.Database + "_latin"
	executeOn(t, config, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
	t.Cleanup(func() {
		conn, err := pgx.ConnectConfig(context.Background(), config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	latin := config.Copy()
	latin.Database = name
	for _, args := range [][]string{nil, {"migrate"}} {
		code, output := runToEnd(t, environment(t.TempDir(), outside(latin)...), args...)
		if code != exitFailed || !strings.Contains(output, "encoding is LATIN1") ||
			strings.Contains(output, "does not answer yet") {
			t.Errorf("orisun %v: exit code %d\n%s", args, code, output)
		}
	}
}

// startPooler runs a pgbouncer before the PostgreSQL of config, and returns how to connect to it, and what counts the
// connections that it has accepted.
func startPooler(t *testing.T, config *pgx.ConnConfig, mode string) (pooled *pgx.ConnConfig, accepted func() int) {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("pgbouncer is missing; .ci/pgbouncer installs it: %v", err)
	}
	port := freePort(t)
	dir := t.TempDir()
	ini, log := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "pgbouncer.log")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=%s password=%s
[pgbouncer]
pool_mode = %s
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
default_pool_size = 60
`, config.Port, config.User, config.Password, mode, port)
	if os.Geteuid() == 0 {
		const account = "nobody" // it refuses to run as root
		text += "user = " + account + "\n"
	}
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	written, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(context.Background(), program, ini)
	command.Stderr = written
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := command.Wait(); err != nil {
			t.Logf("pgbouncer: %v", err)
		}
		if err := written.Close(); err != nil {
			t.Error(err)
		}
	})
	pooled = config.Copy()
	pooled.Host, pooled.Port = "127.0.0.1", uint16(port)
	waitFor(t, func() bool {
		conn, err := pgx.ConnectConfig(t.Context(), pooled)
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	})
	return pooled, func() int {
		t.Helper()
		lines, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(lines, []byte("login attempt"))
	}
}

func TestAPoolerInSessionModeWorks(t *testing.T) {
	config := pgtest.NewEmpty(t)
	spoil(t, config)
	pooled, _ := startPooler(t, config, "session")
	server := launch(t, environment(t.TempDir(), outside(pooled)...))
	saveUnderContext(t, server, "Zoë 北京")
}

// The check has the pooler to itself: the statements of other connections would fail with errors that name no cause.
func TestAPoolerThatDoesNotKeepSessionsIsRefused(t *testing.T) {
	for _, mode := range []string{"transaction", "statement"} {
		t.Run(mode, func(t *testing.T) {
			pooled, accepted := startPooler(t, pgtest.NewEmpty(t), mode)
			before := accepted()
			code, output := runToEnd(t, environment(t.TempDir(), outside(pooled)...))
			if code != exitFailed || !strings.Contains(output, "pool_mode = session") ||
				strings.Contains(output, "does not answer yet") {
				t.Errorf("exit code %d\n%s", code, output)
			}
			if opened := accepted() - before; before == 0 || opened != 2 {
				t.Errorf("after %d connections the server opened %d, want the 2 of the check", before, opened)
			}
		})
	}
}

func TestConnectionsAreReplacedAfterTheConfiguredTime(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(),
		append(outside(config), "ORISUN_PG_WRITE_CONN_MAX_LIFETIME=4s", "ORISUN_PG_READ_CONN_MAX_LIFETIME=4s",
			"ORISUN_PG_ADMIN_CONN_MAX_LIFETIME=4s", "ORISUN_PG_WRITE_CONN_MAX_IDLE_TIME=1s",
			"ORISUN_PG_READ_CONN_MAX_IDLE_TIME=1s", "ORISUN_PG_ADMIN_CONN_MAX_IDLE_TIME=1s")...))
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	sessions := func() (found map[int32]bool) {
		rows, err := conn.Query(t.Context(),
			`SELECT pid FROM pg_stat_activity WHERE application_name = 'orisun' AND datname = current_database()`)
		if err != nil {
			t.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			t.Fatal(err)
		}
		found = map[int32]bool{}
		for _, pid := range pids {
			found[pid] = true
		}
		return found
	}
	first := sessions()
	if len(first) == 0 {
		t.Fatal("the server has no session")
	}
	waitFor(t, func() bool {
		now := sessions()
		for pid := range first {
			if now[pid] {
				return false
			}
		}
		return len(now) > 0
	})
	if _, err := connect(t, server.address).Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Error(err)
	}
}
