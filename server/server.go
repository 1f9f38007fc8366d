// Package server is the event store as a Go package: PostgreSQL, NATS, gRPC and HTTP in one process, from a list of
// settings.
//
//	settings, warnings, err := config.Load(nil, os.Environ())
//	…
//	err = server.Run(ctx, server.Config{Settings: settings})
//
// Package servertest starts one in a test.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db/pgsession"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/httpapi"
	"github.com/oexza/orisun/server/postgres"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/server/version"
)

// Server is the whole program as a value, so that tests run the real program. Run it once.
//
// It starts in this order: listen, PostgreSQL (when it is our own), migrations, boundaries, NATS and the publisher,
// gRPC. It ends in the opposite order, and drains: health reports NOT_SERVING, no new calls are accepted,
// subscriptions end with UNAVAILABLE or are cut, and calls in flight finish within ORISUN_SHUTDOWN_TIMEOUT. The
// publisher ends at a checkpoint, then NATS, then PostgreSQL. If our own PostgreSQL ends by itself, Run ends with an
// error.
type Server struct {
	config       *config.Config
	log          *slog.Logger
	ready        chan struct{}
	address      net.Addr
	adminAddress net.Addr
	callers      *callers
	drained      drained
}

// drained counts the calls in flight when the server began to end, for the log's last line.
type drained struct {
	since          time.Time // zero before the server begins to end
	calls, streams int64
}

// Config is what a server needs.
type Config struct {
	// Settings are those of config.Load.
	Settings *config.Config
	// Log is slog.Default where it is nil.
	Log *slog.Logger
}

// Run serves until ctx ends, then drains. Its error is why the server could not start or continue. The end of ctx is
// no error.
func Run(ctx context.Context, config Config) error { return New(config).Run(ctx) }

// New returns a server that is not running yet.
func New(config Config) *Server {
	settings, log := *config.Settings, config.Log
	if log == nil {
		log = slog.Default()
	}
	return &Server{config: &settings, log: log, ready: make(chan struct{})}
}

// Ready is closed when calls are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Address is where gRPC listens; call it after Ready.
func (s *Server) Address() net.Addr { return s.address }

// AdminAddress is where HTTP listens; call it after Ready.
func (s *Server) AdminAddress() net.Addr { return s.adminAddress }

// Run serves until ctx ends, then drains. Its error is why it could not start or continue. The end of ctx is no
// error.
func (s *Server) Run(ctx context.Context) (err error) {
	r := &running{Server: s}
	started := starting{limit: s.config.Shutdown.Timeout}
	defer func() {
		if err = errors.Join(err, started.stop()); err == nil {
			s.log.Info("stopped: calls, streams, publisher, NATS and connections to PostgreSQL have ended",
				"calls_finished", s.drained.calls, "streams_ended", s.drained.streams, "took", time.Since(s.drained.since))
		}
	}()
	for _, part := range r.components() {
		if err := started.start(ctx, part); err != nil {
			return err
		}
	}
	return s.serve(ctx, r.servers.Listening, r.admin, r.healthy, r.endSubscriptions, r.listener, r.own)
}

// messageSize is the most bytes that an event takes when it is published.
func messageSize(storeID string) func(boundary, eventID, eventType string, data, metadata int) int {
	return func(boundary, eventID, eventType string, data, metadata int) int {
		return publisher.MessageSize(boundary, publisher.Source(storeID, boundary), eventID, eventType, data, metadata)
	}
}

// checkConnection returns when PostgreSQL answers, and fails where its sessions are not what the server relies on. No
// pool is open yet: behind a pooler that does not keep sessions its connections would fail first and disturb the check.
func (s *Server) checkConnection(ctx context.Context) error {
	pg := s.config.PG
	database, err := databaseConfig(pg)
	if err != nil {
		return err
	}
	err = s.step("connect to PostgreSQL", func() error {
		return s.waitForDatabase(ctx, func(ctx context.Context) error {
			if err := pgsession.CheckPooling(ctx, database); err != nil {
				return err
			}
			conn, err := pgx.ConnectConfig(ctx, database)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		})
	})
	if err != nil {
		return fmt.Errorf("PostgreSQL at %s, port %d, database %s, user %s: %w", pg.Host, pg.Port, pg.Name, pg.User, err)
	}
	return nil
}

// prepareDatabase returns when PostgreSQL has what this binary needs.
func (s *Server) prepareDatabase(ctx context.Context, pool *pgxpool.Pool) (err error) {
	defer func() { err = nameGrants(err) }()
	if err := s.step("migrate", func() error { return s.waitForDatabase(ctx, s.migrate) }); err != nil {
		return err
	}
	if err := s.waitForDatabase(ctx, func(ctx context.Context) error {
		return s.warnOfMissingRights(ctx, pool)
	}); err != nil {
		return err
	}
	initialize := func(ctx context.Context) error { return s.initializeBoundaries(ctx, pool) }
	if err := s.step("initialize boundaries", func() error { return s.waitForDatabase(ctx, initialize) }); err != nil {
		return err
	}
	return s.waitForDatabase(ctx, func(ctx context.Context) error {
		return errors.Join(s.warnOfUnsafeSettings(ctx, pool), s.warnOfOpenSchemas(ctx, pool))
	})
}

// serve answers calls until ctx ends or something that it depends on ends.
func (s *Server) serve(
	ctx context.Context, server *transport.Server, admin *httpapi.Server, healthy *transport.Health,
	endSubscriptions func(), listener net.Listener, own *postgres.Server,
) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.log.Info("serving", "grpc", listener.Addr().String(), "http", s.adminAddress.String(),
		"boundaries", len(s.config.Boundaries), "version", version.Read().Version)
	close(s.ready)

	var ended error
	limit := s.config.Shutdown.Timeout
	select {
	case <-ctx.Done():
		calls, open := server.Open()
		s.drained = drained{time.Now(), calls, open}
		s.log.Info("draining", "calls", s.drained.calls, "streams", s.drained.streams, "timeout", s.config.Shutdown.Timeout)
	case ended = <-served:
		return fmt.Errorf("serve gRPC: %w", ended)
	case err := <-admin.Served:
		admin.Served <- err
		ended = errors.New("HTTP on ORISUN_ADMIN_PORT ended") // stop returns the reason
	case <-done(own):
		ended = fmt.Errorf("our own PostgreSQL ended: %w", own.Err())
		limit = min(limit, transport.StreamGrace) // no server is left to answer the calls in flight
	}
	server.Draining()
	healthy.Shutdown()
	admin.Readiness.Draining()
	endSubscriptions()
	err := endWithin(limit, func(ctx context.Context) error {
		var web error
		var draining sync.WaitGroup
		draining.Go(func() { web = admin.Drain(ctx) })
		calls := server.Drain(ctx)
		draining.Wait()
		return errors.Join(calls, web)
	})
	return errors.Join(ended, err, <-served)
}

// done is closed at the end of our own PostgreSQL. It is never closed where there is none.
func done(own *postgres.Server) <-chan struct{} {
	if own == nil {
		return nil
	}
	return own.Done()
}

func endWithin(limit time.Duration, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return end(ctx)
}

// step logs a step of the start and its duration.
func (s *Server) step(what string, do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	s.log.Info(what, "took", time.Since(start))
	return nil
}

func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
}

// closeListener closes a listener that gRPC may have closed already.
func closeListener(listener net.Listener) error {
	if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
