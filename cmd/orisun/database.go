package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sethvargo/go-retry"

	"github.com/oexza/orisun/cmd/orisun/postgres"
	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations"
)

// databaseWait is how long the server waits at its start for a PostgreSQL that does not answer yet.
const databaseWait = time.Minute

// spareTime is how long a pool keeps a connection that nobody uses beyond those it is to keep. What a session learns, plans above all, takes it tens
// of milliseconds: closed as soon as it is idle, it would learn anew for every few questions.
const spareTime = 10 * time.Second

// defaultDatabasePassword is what ORISUN_PG_PASSWORD is when nobody sets it.
const defaultDatabasePassword = "postgres"

const warnDefaultDatabasePassword = "the server's own PostgreSQL has the default password, so any user of this machine can read and change every event: set ORISUN_PG_PASSWORD; a start puts it in force"

// startPostgres starts the PostgreSQL of our own, and points the configuration at its socket.
func (s *Server) startPostgres(ctx context.Context) (*postgres.Server, error) {
	pg := s.config.PG
	server, err := postgres.Start(ctx, postgres.Config{
		DataDir: pg.DataDir, BinDir: pg.BinDir, Port: pg.Port,
		User: pg.User, Password: pg.Password, Database: pg.Name,
		Durable:  true,
		Settings: map[string]string{"max_connections": strconv.Itoa(embeddedConnections(pg))},
		Logger:   s.log,
	})
	if err != nil {
		return nil, err
	}
	s.config.PG.Host, s.config.PG.Port = server.Host(), server.Port()
	return server, nil
}

// embeddedConnections is what our pools may open, and room for people with psql.
func embeddedConnections(pg PGConfig) int {
	const others = 20
	return int(pg.WriteMaxOpen+pg.ReadMaxOpen+pg.AdminMaxOpen+directoryConnections) + others
}

// connString is the configuration in PostgreSQL's keyword form.
func connString(pg PGConfig) string {
	quote := func(value string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'" }
	parts := []string{
		"host=" + quote(pg.Host),
		"port=" + strconv.Itoa(pg.Port),
		"user=" + quote(pg.User),
		"password=" + quote(pg.Password),
		"dbname=" + quote(pg.Name),
		"sslmode=" + quote(pg.SSLMode),
		"application_name=orisun",
	}
	return strings.Join(append(parts, networkSettings...), " ")
}

// networkSettings decide how long a host that does not answer, or that vanished without a word, is waited for: by us, and by PostgreSQL, which
// frees the locks of a client that is gone. They have no effect on Unix sockets.
var networkSettings = []string{
	"connect_timeout=5",
	// Of several hosts the one that takes writes, which a standby does not: nothing is ever decided on what a standby knows.
	"target_session_attrs=read-write",
	"tcp_keepalives_idle=5", "tcp_keepalives_interval=1", "tcp_keepalives_count=5", "tcp_user_timeout=10000",
}

// databaseConfig is how to connect.
func databaseConfig(pg PGConfig) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(connString(pg))
	if err != nil {
		return nil, fmt.Errorf("ORISUN_PG_*: %w", err)
	}
	config.DialFunc = newDialer().DialContext
	return config, nil
}

// newDialer makes connections that notice within about ten seconds that the other side is gone, idle, waiting for an answer or in the
// middle of a request. Go's own default is minutes.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5},
		Control:         limitUnacknowledged,
	}
}

// newPool opens a pool of at most open connections that keeps at most idle of them when nobody has used them for spareTime; more adds to its configuration.
func newPool(ctx context.Context, pg PGConfig, open, idle int32, more ...func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(connString(pg))
	if err != nil {
		return nil, fmt.Errorf("ORISUN_PG_*: %w", err)
	}
	config.ConnConfig.DialFunc = newDialer().DialContext
	params := config.ConnConfig.RuntimeParams
	params["jit"] = "off"
	params["search_path"] = "pg_catalog"
	params["statement_timeout"] = strconv.FormatInt(pg.StatementTimeout.Milliseconds(), 10)
	config.MaxConns, config.MinConns = open, min(idle, open)
	config.MaxConnIdleTime, config.HealthCheckPeriod = spareTime, spareTime/2
	if idle == 0 {
		config.AfterRelease = func(*pgx.Conn) bool { return false } // whoever wants none kept gets it, at its price
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		return nil
	}
	for _, add := range more {
		add(config)
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// planOverEvents is what a session sets that asks an event table without one of the functions that do so themselves: orisun.compose_saving says why. Kept plans
// may stem from when the table was empty.
func planOverEvents(config *pgxpool.Config) {
	params := config.ConnConfig.RuntimeParams
	params["plan_cache_mode"] = "force_generic_plan"
	for _, method := range []string{"enable_seqscan", "enable_bitmapscan", "enable_sort"} {
		params[method] = "off"
	}
	// Shapes of criteria come from clients, and each is a statement of its own.
	config.ConnConfig.StatementCacheCapacity = 128
}

// waitForDatabase does what needs PostgreSQL until it is done, or returns why waiting does not help. What it does may be done again.
func (s *Server) waitForDatabase(ctx context.Context, do func(context.Context) error) error {
	told := false
	backoff := retry.WithMaxDuration(databaseWait, retry.WithCappedDuration(2*time.Second, retry.NewFibonacci(100*time.Millisecond)))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := do(ctx)
		if err == nil || !mayPass(err) {
			return err
		}
		if !told {
			s.log.Warn("PostgreSQL does not answer yet; waiting", "for", databaseWait, "error", err)
			told = true
		}
		return retry.RetryableError(err)
	})
}

// mayPass tells what time heals: nobody listens yet, PostgreSQL is starting or going, its connections are taken, or only standbys are there so far.
func mayPass(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return slices.ContainsFunc([]string{"57P", "08", "53300"}, func(class string) bool { return strings.HasPrefix(refused.Code, class) })
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		pgconn.SafeToRetry(err)
}

// migrate brings the schema up to date, or checks that it is.
func (s *Server) migrate(ctx context.Context) error {
	config, err := databaseConfig(s.config.PG)
	if err != nil {
		return err
	}
	if !s.config.PG.AutoMigrate {
		return migrations.Check(ctx, config, s.config.PG.MigrationsTable)
	}
	applied, err := migrations.Up(ctx, config, s.config.PG.MigrationsTable)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if len(applied) > 0 {
		s.log.Info("applied migrations", "count", len(applied), "version", applied[len(applied)-1])
	}
	return nil
}

// claimStore is the store's identity, a new one where the database is a copy.
func (s *Server) claimStore(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	store, err := db.New().ClaimStore(ctx, pool)
	if err != nil {
		return "", fmt.Errorf("claim the store: %w", err)
	}
	switch store.PreviousID {
	case store.StoreID:
	case "":
		s.log.Info("the store has got an identity", "store", store.StoreID)
	default:
		s.log.Warn("this database is a copy of another store: it has got an identity and keys of its own, and all tokens are void", "store", store.StoreID, "copy_of", store.PreviousID)
	}
	return store.StoreID, nil
}

// initializeBoundaries makes the configured boundaries where they do not exist.
func (s *Server) initializeBoundaries(ctx context.Context, pool *pgxpool.Pool) error {
	queries := db.New()
	for _, boundary := range s.config.Boundaries {
		err := queries.InitializeBoundaryTables(ctx, pool, db.InitializeBoundaryTablesParams{
			Boundary: boundary.Name, Schema: boundary.Schema, Description: boundary.Description,
		})
		if err != nil {
			return fmt.Errorf("initialize boundary %s in schema %s: %w", boundary.Name, boundary.Schema, err)
		}
	}
	return nil
}
