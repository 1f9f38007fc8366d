//go:build unix

package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// oldCluster is a data directory as earlier versions made it: the configured role is initdb's superuser, and owns
// everything. made are statements in its database.
func oldCluster(t *testing.T, cfg Config, made ...string) {
	t.Helper()
	s := &Server{cfg: cfg, log: cfg.Logger, anyPort: freePort}
	if err := s.claimDataDir(); err != nil {
		t.Fatal(err)
	}
	for _, take := range []func(context.Context) ([]any, error){s.findBinaries, s.chooseAccount, s.oldInitdb, s.launch} {
		if _, err := take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		"ALTER ROLE " + pgx.Identifier{cfg.User}.Sanitize() + " PASSWORD 'secret'", "CREATE DATABASE " + cfg.Database,
		"CREATE DATABASE another",
	} {
		executeAs(t, s, cfg.User, "postgres", statement)
	}
	for _, statement := range made {
		executeAs(t, s, cfg.User, cfg.Database, statement)
	}
	executeAs(t, s, cfg.User, "another", "CREATE TABLE public.beside AS SELECT 1 AS n")
	stop(t, s)
}

func (s *Server) oldInitdb(ctx context.Context) ([]any, error) {
	if err := os.Mkdir(s.cluster(), 0o700); err != nil {
		return nil, err
	}
	if err := s.account.own(s.cluster()); err != nil {
		return nil, err
	}
	return nil, s.account.command(ctx, filepath.Join(s.bin.dir, "initdb"), "-D", s.cluster(), "-U", s.cfg.User,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C", "-E", "UTF8", "--data-checksums", "--no-sync").Run()
}

func connectAs(t *testing.T, s *Server, user, database string) *pgx.Conn {
	t.Helper()
	cfg := s.cfg
	cfg.User, cfg.Database = user, database
	conn, err := connect(t.Context(), cfg, s.sockets, s.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil { // its server may be dead by now
			t.Logf("close the session: %v", err)
		}
	})
	return conn
}

func executeAs(t *testing.T, s *Server, user, database, statement string) {
	t.Helper()
	if _, err := connectAs(t, s, user, database).Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// everything is one object of each kind that people may have made.
var everything = []string{
	"CREATE SCHEMA sales",
	"CREATE TYPE sales.mood AS ENUM ('good', 'bad')",
	"CREATE TYPE sales.pair AS (a integer, b text)",
	"CREATE TYPE sales.span AS RANGE (subtype = integer)",
	`CREATE DOMAIN sales."positive number" AS integer CHECK (VALUE > 0)`,
	"CREATE TABLE sales.orders (id bigserial PRIMARY KEY, other integer GENERATED ALWAYS AS IDENTITY, mood sales.mood, " +
		"moods sales.mood[])",
	"INSERT INTO sales.orders (mood) VALUES ('good')",
	"CREATE TABLE sales.parts (n integer) PARTITION BY LIST (n)",
	"CREATE TABLE sales.part PARTITION OF sales.parts DEFAULT",
	"CREATE SEQUENCE sales.numbers",
	"CREATE VIEW sales.shown AS SELECT * FROM sales.orders",
	"CREATE MATERIALIZED VIEW sales.counted AS SELECT count(*) FROM sales.orders",
	"CREATE STATISTICS sales.measured ON id, mood FROM sales.orders",
	"CREATE FUNCTION sales.double(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n'",
	"CREATE FUNCTION sales.mean(a integer, b integer) RETURNS boolean LANGUAGE sql AS 'SELECT a < b'",
	"CREATE PROCEDURE sales.act() LANGUAGE sql AS 'SELECT 1'",
	"CREATE AGGREGATE sales.total(integer) (SFUNC = int4pl, STYPE = integer)",
	"CREATE OPERATOR sales.<<< (LEFTARG = integer, RIGHTARG = integer, FUNCTION = sales.mean)",
	"CREATE COLLATION sales.bytes (LC_COLLATE = 'C', LC_CTYPE = 'C')",
	"CREATE TEXT SEARCH CONFIGURATION sales.words (COPY = simple)",
	"SELECT lo_create(4711)",
	"CREATE TABLE public.stored AS SELECT 42 AS n",
	"CREATE PUBLICATION whole FOR ALL TABLES",
}

func TestAClusterOfAnEarlierVersionIsConverted(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(emptyDir(t), "pg"))
	oldCluster(t, cfg, everything...)
	for range 2 { // the second start finds nothing left to do
		s := start(t, cfg)
		wantNoSuperuser(t, s)
		for database, query := range map[string]string{
			"orisun": `SELECT (SELECT n FROM public.stored) * sales.double(1) * (SELECT count
				FROM sales.counted)::integer = 84 AND count(*) = 1 FROM sales.shown`, "another": "SELECT n = 1 FROM public.beside",
		} {
			var right bool
			if err := connectAs(t, s, cfg.User, database).QueryRow(t.Context(), query).Scan(&right); err != nil || !right {
				t.Errorf("what the role made in %s: %t, %v", database, right, err)
			}
		}
		// What initdb's role still owns is initdb's, and what belongs to something else.
		for _, database := range []string{"orisun", "another", "postgres"} {
			conn := connectAs(t, s, superuser, database)
			for _, query := range []string{
				objectsOfInitdbsRole, databasesOfInitdbsRole,
				"SELECT relname FROM pg_class WHERE relowner = 10 AND oid >= 16384 AND relkind <> 'i'",
			} {
				rows, err := conn.Query(t.Context(), query)
				if err != nil {
					t.Fatal(err)
				}
				left, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil || len(left) > 0 {
					t.Errorf("%s: the superuser still owns %q, %v", database, left, err)
				}
			}
		}
		for _, statement := range []string{
			"INSERT INTO sales.orders (mood) VALUES ('bad')", "DROP TABLE sales.orders CASCADE", "CREATE TABLE sales.more ()",
			"DROP TABLE sales.more",
			"CREATE TABLE public.more ()", "DROP TABLE public.more", "ALTER SCHEMA sales RENAME TO sold",
			"DROP SCHEMA sales CASCADE", "ALTER DATABASE orisun SET work_mem = '5MB'", "CREATE DATABASE made",
			"DROP DATABASE made",
		} {
			if strings.Contains(statement, "orders") || strings.Contains(statement, "SCHEMA") {
				statement = "BEGIN; " + statement + "; ROLLBACK"
			}
			executeAs(t, s, cfg.User, "orisun", statement)
		}
		if err := logIn(t, s, "secret"); err != nil {
			t.Errorf("the password does not let in: %v", err)
		}
		stop(t, s)
	}
}

// A conversion may be cut short after any of its steps.
func TestAConversionThatIsCutShortIsTakenUp(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(emptyDir(t), "pg"))
	oldCluster(t, cfg, append(everything,
		"CREATE ROLE "+heir, "CREATE ROLE "+converter+" SUPERUSER LOGIN",
		"ALTER DATABASE another OWNER TO "+heir, "ALTER TABLE public.stored OWNER TO "+heir)...)
	s := start(t, cfg)
	wantNoSuperuser(t, s)
	if got := value(t, s, "SELECT n::text FROM stored"); got != "42" {
		t.Errorf("got %s, want 42", got)
	}
	stop(t, s)

	// The last step that may be missing.
	s = start(t, cfg)
	executeAs(t, s, superuser, "postgres", "CREATE ROLE "+converter+" SUPERUSER LOGIN")
	stop(t, s)
	wantNoSuperuser(t, start(t, cfg))
}

func TestTheConfiguredRoleRunsNoPrograms(t *testing.T) {
	t.Parallel()
	wantNoSuperuser(t, start(t, config(t, stoppedCluster(t))))
}

// wantNoSuperuser tries by TCP what any user of the machine may who knows the password.
func wantNoSuperuser(t *testing.T, s *Server) {
	t.Helper()
	conn, err := connect(t.Context(), s.cfg, "127.0.0.1", s.Port())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"COPY (SELECT 1) TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')", "ALTER ROLE " + s.cfg.User + " SUPERUSER",
		"CREATE ROLE other SUPERUSER",
		"SET ROLE " + superuser, "ALTER ROLE " + superuser + " PASSWORD 'known'",
	} {
		if _, err := conn.Exec(t.Context(), statement); sqlState(err) != "42501" {
			t.Errorf("%s: %v, want a refusal", statement, err)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	cfg := s.cfg
	cfg.User = superuser
	for _, cfg.Password = range []string{"", s.cfg.Password, "postgres"} {
		if conn, err := connect(t.Context(), cfg, "127.0.0.1", s.Port()); err == nil {
			t.Errorf("the superuser logs in by TCP with the password %q: %v", cfg.Password, conn.Close(t.Context()))
		}
	}
	rows, err := connectAs(t, s, superuser, "postgres").Query(t.Context(),
		"SELECT rolname FROM pg_authid WHERE rolsuper OR rolname LIKE 'orisun\\_%' OR rolname = $1 ORDER BY 1", s.cfg.User)
	if err != nil {
		t.Fatal(err)
	}
	if roles, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil ||
		strings.Join(roles, " ") != superuser+" "+s.cfg.User {
		t.Errorf("the roles are %q, %v", roles, err)
	}
}

func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}
