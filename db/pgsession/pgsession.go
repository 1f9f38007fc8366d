// Package pgsession decides what a session of ours relies on in PostgreSQL, whatever ALTER ROLE … SET and ALTER
// DATABASE … SET say. Every connection is made from a configuration that Prepare has seen: pools, leases, index builds
// and migrations.
//
// The settings are no startup parameters, which a pooler such as pgbouncer refuses or ignores. They are set when the
// connection is made, and read back in a transaction of their own. What does not stand then makes the connection fail
// with an *UnfitError, since waiting does not help.
package pgsession

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Settings are values by the names of PostgreSQL's settings.
type Settings map[string]string

// base is what every session relies on. Settings that only later versions of PostgreSQL have are skipped on earlier
// ones.
var base = Settings{
	// Documents and names arrive and are stored as UTF-8.
	"client_encoding":             "UTF8",
	"standard_conforming_strings": "on",
	"array_nulls":                 "on",
	"transform_null_equals":       "off",
	"quote_all_identifiers":       "off",
	// Positions are drawn under READ COMMITTED, and lookups see all rows.
	"default_transaction_isolation":  "read committed",
	"default_transaction_read_only":  "off",
	"default_transaction_deferrable": "off",
	"row_security":                   "off",
	// All names are qualified.
	"search_path": "pg_catalog, pg_temp",
	"TimeZone":    "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres",
	"extra_float_digits": "1",
	// Callers that need a limit set their own.
	"statement_timeout": "0", "lock_timeout": "0", "transaction_timeout": "0",
	"idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0",
	"jit": "off",
	// PostgreSQL notices a client that vanished without a word within about ten seconds, and frees its locks. No effect
	// on Unix sockets.
	"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "5", "tcp_user_timeout": "10000",
}

// Planning is what sessions set that call a boundary's functions. Cached plans may stem from when a table was empty,
// and must be right for a full one.
var Planning = Settings{
	"plan_cache_mode": "force_generic_plan",
	"enable_seqscan":  "off", "enable_bitmapscan": "off", "enable_sort": "off",
	"enable_indexscan": "on", "enable_indexonlyscan": "on", "enable_nestloop": "on",
	// A caller's share of connections is its share of processors.
	"max_parallel_workers_per_gather": "0",
}

// Leases is what the session sets that holds a node's leases.
var Leases = Settings{
	"application_name":  "orisun leases",
	"statement_timeout": "2000",
	"lock_timeout":      "100", // a checkpoint that another session has locked is not worth the others' time
	// A checkpoint that a crash of PostgreSQL takes back costs a look at the stream, not an event: it need not wait for
	// the disk.
	"synchronous_commit": "off",
	// PostgreSQL frees the locks of a machine that vanished without a word within about five seconds.
	"tcp_keepalives_idle": "2", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3", "tcp_user_timeout": "5000",
}

// StatementTimeout is after how long PostgreSQL cancels a statement.
func StatementTimeout(limit time.Duration) Settings {
	return Settings{"statement_timeout": strconv.FormatInt(limit.Milliseconds(), 10)}
}

// UnfitError says that a session is not, and will not be, what the server relies on.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return e.Reason }

// Prepare makes connections of config have our settings, and more; later ones win. It replaces what an earlier call
// asked for.
func Prepare(config *pgx.ConnConfig, more ...Settings) {
	all := maps.Clone(base)
	for _, settings := range more {
		maps.Copy(all, settings)
	}
	names := slices.Sorted(maps.Keys(all))
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = all[name]
	}
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error { return apply(ctx, conn, names, values) }
	// Not "read-write": that believes default_transaction_read_only, which is set only after it is looked at.
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
}

const (
	set = `SELECT s.name, pg_catalog.set_config(s.name, s.value, false)
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s(name, value)
 WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL`
	check = `SELECT s.name, pg_catalog.current_setting(s.name) FROM pg_catalog.unnest($1::pg_catalog.text[]) AS s(name)`
)

// apply sets the settings and reads them back.
func apply(ctx context.Context, conn *pgconn.PgConn, names, values []string) error {
	wanted, err := pairs(ctx, conn, set, names, values)
	if err != nil {
		return fmt.Errorf("set what the session relies on: %w", err)
	}
	got, err := pairs(ctx, conn, check,
		append(slices.Sorted(maps.Keys(wanted)), "server_encoding", "session_replication_role"))
	if err != nil {
		return fmt.Errorf("read what the session relies on: %w", err)
	}
	if encoding := got["server_encoding"]; encoding != "UTF8" {
		return &UnfitError{
			"the database's encoding is " + encoding + ", and events are UTF-8: create the database with ENCODING 'UTF8' " +
				"(TEMPLATE template0)",
		}
	}
	if role := got["session_replication_role"]; role == "replica" {
		return &UnfitError{
			"session_replication_role is replica for this role or database, so that constraints and triggers do not work: " +
				"reset it with ALTER ROLE or ALTER DATABASE",
		}
	}
	for name, value := range wanted {
		// PostgreSQL shows those of the network as 0 on Unix sockets, and where the operating system lacks them.
		if got[name] != value && !strings.HasPrefix(name, "tcp_") {
			return &UnfitError{
				fmt.Sprintf("the session does not keep its settings: %s was set to %q and is %q; is a pooler in transaction mode "+
					"in between?", name, value, got[name]),
			}
		}
	}
	return nil
}

// pairs runs a query of arrays of texts that answers names and values.
func pairs(ctx context.Context, conn *pgconn.PgConn, query string, arrays ...[]string) (map[string]string, error) {
	arguments := make([][]byte, len(arrays))
	for i, array := range arrays {
		arguments[i] = []byte(`{"` + strings.Join(array, `","`) + `"}`) // names and values of ours, none of which has a quote
	}
	result := conn.ExecParams(ctx, query, arguments, nil, nil, nil).Read()
	found := make(map[string]string, len(result.Rows))
	for _, row := range result.Rows {
		found[string(row[0])] = string(row[1])
	}
	return found, result.Err
}

// CheckPooling returns an *UnfitError when connections do not keep their session, as behind a pooler in transaction or
// statement mode: leases are session advisory locks, and settings and prepared statements belong to sessions. It makes
// two connections.
func CheckPooling(ctx context.Context, config *pgx.ConnConfig) (err error) {
	unfit := func(how string) error {
		return &UnfitError{"a pooler between the server and PostgreSQL does not keep sessions (" + how +
			"): leases are session advisory locks, and a session's settings and prepared " +
			"statements must last; set pool_mode = session for this database or user, or connect to PostgreSQL directly"}
	}
	bare := config.Config.Copy()
	bare.AfterConnect = nil
	var conns [2]*pgconn.PgConn
	for i := range conns {
		if conns[i], err = pgconn.ConnectConfig(ctx, bare); err != nil {
			return err
		}
		defer func() {
			if closed := conns[i].Close(context.WithoutCancel(ctx)); err == nil {
				err = closed
			}
		}()
	}
	backend := func(conn *pgconn.PgConn) (string, error) {
		results, err := conn.Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
		if err != nil {
			return "", err
		}
		return string(results[0].Rows[0][0]), nil
	}
	before, err := backend(conns[0])
	if err != nil {
		return err
	}
	// While this transaction is open its backend is its own; without sessions it is the one that the first connection
	// has just left, or takes another one's place.
	if err := conns[1].Exec(ctx, "BEGIN").Close(); err != nil {
		return unfit("it refused a transaction: " + err.Error())
	}
	other, err := backend(conns[1])
	if err != nil {
		return err
	}
	if other == before {
		return unfit(fmt.Sprintf("two connections share the backend %s", other))
	}
	after, err := backend(conns[0])
	if err != nil {
		return err
	}
	if after != before {
		return unfit(fmt.Sprintf("one connection had the backends %s and %s", before, after))
	}
	return nil
}
