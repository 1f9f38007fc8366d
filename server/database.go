package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sethvargo/go-retry"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/pgsession"
	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/postgres"
	"github.com/oexza/orisun/service"
)

// databaseWait is how long the server waits at its start for a PostgreSQL that does not answer yet.
const databaseWait = time.Minute

// probeConnections is the number of connections for readiness checks. Callers do not use them.
const probeConnections = 1

// poolLimits bound a pool. It holds at most maxIdle connections that were unused for maxIdleTime. A new session needs
// tens of milliseconds to build its caches, above all plans, so that time is not too short. No connection is used
// beyond maxLifetime.
type poolLimits struct {
	maxOpen, maxIdle         int32
	maxLifetime, maxIdleTime time.Duration
}

func writePool(c config.PG) poolLimits {
	return poolLimits{c.WriteMaxOpen, c.WriteMaxIdle, c.WriteMaxLifetime, c.WriteMaxIdleTime}
}

func readPool(c config.PG) poolLimits {
	return poolLimits{c.ReadMaxOpen, c.ReadMaxIdle, c.ReadMaxLifetime, c.ReadMaxIdleTime}
}

// directoryPool has few connections: lookups of users are rare, as nodes cache users.
func directoryPool(c config.PG) poolLimits {
	return poolLimits{directoryConnections, 1, c.AdminMaxLifetime, c.AdminMaxIdleTime}
}

// probePool is the pool of the readiness checks.
func probePool(c config.PG) poolLimits {
	return poolLimits{probeConnections, 1, c.AdminMaxLifetime, c.AdminMaxIdleTime}
}

func adminPool(c config.PG) poolLimits {
	return poolLimits{c.AdminMaxOpen, c.AdminMaxIdle, c.AdminMaxLifetime, c.AdminMaxIdleTime}
}

const warnDefaultDatabasePassword = "the server's own PostgreSQL has the default password, so any user of this " +
	"machine can read and change every event: set ORISUN_PG_PASSWORD; a start puts it in force"

// OpenDatabase returns how to connect to the database of the settings, for the commands of the command line. Without
// ORISUN_PG_HOST it starts the server's own PostgreSQL, which stop ends.
func OpenDatabase(
	ctx context.Context, settings *config.Config, log *slog.Logger,
) (database *pgx.ConnConfig, stop func() error, err error) {
	pg, stop := settings.PG, func() error { return nil }
	if pg.Embedded() {
		own, err := startPostgres(ctx, &pg, log)
		if err != nil {
			return nil, nil, err
		}
		stop = func() error { return endWithin(settings.Shutdown.Timeout, own.Stop) }
	}
	if database, err = databaseConfig(pg); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return database, stop, nil
}

// startPostgres starts our own PostgreSQL, and points the configuration at its socket.
func startPostgres(ctx context.Context, pg *config.PG, log *slog.Logger) (*postgres.Server, error) {
	server, err := postgres.Start(ctx, postgres.Config{
		DataDir: pg.DataDir, BinDir: pg.BinDir, Port: pg.Port,
		User: pg.User, Password: pg.Password, Database: pg.Name,
		Durable:  true,
		Settings: map[string]string{"max_connections": strconv.Itoa(embeddedConnections(*pg))},
		Logger:   log,
	})
	if err != nil {
		return nil, err
	}
	pg.Host, pg.Port = server.Host(), server.Port()
	return server, nil
}

// embeddedConnections is what our pools may open, with a reserve for psql, leases, changes of indexes and migrations.
func embeddedConnections(pg config.PG) int {
	const others = 20
	return int(pg.WriteMaxOpen+pg.ReadMaxOpen+pg.AdminMaxOpen+directoryConnections+probeConnections) + others
}

// connString is the configuration in PostgreSQL's keyword form.
func connString(pg config.PG) string {
	quote := func(value string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'" }
	parts := []string{
		"host=" + quote(pg.Host),
		"port=" + strconv.Itoa(pg.Port),
		"user=" + quote(pg.User),
		"password=" + quote(pg.Password),
		"dbname=" + quote(pg.Name),
		"sslmode=" + quote(pg.SSLMode),
		"application_name=orisun",
		"connect_timeout=5",
	}
	return strings.Join(parts, " ")
}

// databaseConfig is how to connect. Of several hosts it selects the primary, since no decision may rest on the state
// of a standby. See package pgsession.
func databaseConfig(pg config.PG) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(connString(pg))
	if err != nil {
		return nil, fmt.Errorf("ORISUN_PG_*: %w", err)
	}
	config.DialFunc = newDialer().DialContext
	pgsession.Prepare(config)
	return config, nil
}

// newDialer makes connections that notice a lost peer within about ten seconds: while idle, waiting for an answer or
// in the middle of a request. Go's own default is minutes.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5},
		Control:         limitUnacknowledged,
	}
}

// newPool opens a pool of our sessions, which cancel statements after ORISUN_PG_STATEMENT_TIMEOUT. settings are
// additional parameters of the session.
func newPool(
	ctx context.Context, pg config.PG, limits poolLimits, traced func(*pgxpool.Config), settings ...pgsession.Settings,
) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(connString(pg))
	if err != nil {
		return nil, fmt.Errorf("ORISUN_PG_*: %w", err)
	}
	config.ConnConfig.DialFunc = newDialer().DialContext
	// Clients choose the shapes of criteria, and each shape is a statement of its own.
	config.ConnConfig.StatementCacheCapacity = 128
	pgsession.Prepare(config.ConnConfig, append(settings, pgsession.StatementTimeout(pg.StatementTimeout))...)
	config.MaxConns, config.MinConns = limits.maxOpen, min(limits.maxIdle, limits.maxOpen)
	config.MaxConnLifetime, config.MaxConnIdleTime = limits.maxLifetime, limits.maxIdleTime
	config.HealthCheckPeriod = min(limits.maxIdleTime, limits.maxLifetime, time.Minute) / 2
	if limits.maxIdle == 0 {
		config.AfterRelease = func(*pgx.Conn) bool { return false } // without idle connections each use opens a new one
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	if traced != nil {
		traced(config)
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// waitForDatabase repeats work that needs PostgreSQL until it succeeds, or returns why waiting does not help. The
// work may be repeated.
func (s *Server) waitForDatabase(ctx context.Context, do func(context.Context) error) error {
	logged := false
	backoff := retry.WithMaxDuration(databaseWait,
		retry.WithCappedDuration(2*time.Second, retry.NewFibonacci(100*time.Millisecond)))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := do(ctx)
		if err == nil || !service.IsTransient(err) {
			return err
		}
		if !logged {
			s.log.Warn("PostgreSQL does not answer yet; waiting", "for", databaseWait, "error", err)
			logged = true
		}
		return retry.RetryableError(err)
	})
}

// migrate brings the schema up to date, or checks that it is up to date.
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

// claimStore returns the store's identity, a new one where the database is a copy.
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
		s.log.Warn("this database is a copy of another store: it has got an identity and keys of its own, and all tokens "+
			"are void", "store", store.StoreID, "copy_of", store.PreviousID)
	}
	return store.StoreID, nil
}

// initializeBoundaries creates the configured boundaries where they do not exist.
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
