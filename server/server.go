// Package server is the event store as a Go package: PostgreSQL, NATS, gRPC and HTTP in one process, from a list of settings.
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

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db/pgsession"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/httpapi"
	"github.com/oexza/orisun/server/postgres"
	"github.com/oexza/orisun/server/telemetry"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/server/version"
	"github.com/oexza/orisun/service"
)

// Server is the whole program as a value, so that tests run the true thing. Run it once.
//
// It starts in this order: listen, PostgreSQL (when it is our own), migrations, boundaries, NATS and the publisher, gRPC. It ends in
// the opposite one, drained: health says NOT_SERVING, no new calls, subscriptions end with UNAVAILABLE or are cut, calls in flight finish
// within ORISUN_SHUTDOWN_TIMEOUT, the publisher ends at a checkpoint, then NATS, then PostgreSQL. If our own PostgreSQL ends by itself, so does Run, with an error.
type Server struct {
	config       *config.Config
	log          *slog.Logger
	ready        chan struct{}
	address      net.Addr
	adminAddress net.Addr
	callers      *callers
	drained      drained
}

// drained is what there was to drain when the server began to end, for the log's last line.
type drained struct {
	since          time.Time // zero before
	calls, streams int64
}

// Config is what a server needs.
type Config struct {
	// Settings are those of config.Load.
	Settings *config.Config
	// Log is slog.Default where it is nil.
	Log *slog.Logger
}

// Run serves until ctx ends, then drains. Its error is why the server could not start or go on; the end of ctx is none.
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

// Run serves until ctx ends, then drains. Its error is why it could not start or go on; ending by ctx is none.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() {
		if err == nil {
			s.log.Info("stopped: calls, streams, publisher, NATS and connections to PostgreSQL have ended", "calls_finished", s.drained.calls,
				"streams_ended", s.drained.streams, "took", time.Since(s.drained.since))
		}
	}()
	// What follows a failure under way to readiness is undone by the deferred calls, in the opposite order.
	listener, err := listen(ctx, s.config.GRPC.Host, s.config.GRPC.Port)
	if err != nil {
		return fmt.Errorf("ORISUN_GRPC_PORT: %w", err)
	}
	defer func() { err = errors.Join(err, closeListener(listener)) }()
	s.address = listener.Addr()

	telemetry, err := telemetry.Start(ctx, s.config.OTEL, s.config.NATS.ServerName, s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop(telemetry.Stop)) }()

	web, err := listen(ctx, s.config.Admin.Host, s.config.Admin.Port)
	if err != nil {
		return fmt.Errorf("ORISUN_ADMIN_PORT: %w", err)
	}
	s.adminAddress = web.Addr()
	admin, err := httpapi.Start(ctx, web, s.config, telemetry.Registry, s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop(admin.Stop)) }()
	stopPprof, err := startPprof(ctx, s.config.Pprof, s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopPprof()) }()

	var own *postgres.Server
	if s.config.PG.Embedded() {
		if own, err = startPostgres(ctx, &s.config.PG, s.log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop(own.Stop)) }()
		if s.config.PG.Password == config.DefaultDatabasePassword {
			s.log.Warn(warnDefaultDatabasePassword, "user", s.config.PG.User, "database", s.config.PG.Name)
			admin.Readiness.Warn(warnDefaultDatabasePassword)
		}
	}

	write, err := newPool(ctx, s.config.PG, writePool(s.config.PG), telemetry.TraceQueries, pgsession.Planning)
	if err != nil {
		return err
	}
	defer write.Close()
	read, err := newPool(ctx, s.config.PG, readPool(s.config.PG), telemetry.TraceQueries, pgsession.Planning)
	if err != nil {
		return err
	}
	defer read.Close()
	// The publisher's alone: no question, however long it takes, holds up the outbox.
	outbox, err := newPool(ctx, s.config.PG, adminPool(s.config.PG), telemetry.TraceQueries, pgsession.Planning)
	if err != nil {
		return err
	}
	defer outbox.Close()
	// And that of who may call, which every call needs to know.
	directory, err := newPool(ctx, s.config.PG, directoryPool(s.config.PG), telemetry.TraceQueries)
	if err != nil {
		return err
	}
	defer directory.Close()
	// Neither do reads and logins make the server look as if it were not ready.
	probe, err := newPool(ctx, s.config.PG, probePool(s.config.PG), telemetry.TraceQueries)
	if err != nil {
		return err
	}
	defer probe.Close()
	share := service.NewReadShare(int(s.config.PG.ReadMaxOpen))
	err = errors.Join(telemetry.WatchPool("write", write), telemetry.WatchPool("read", read), telemetry.WatchPool("outbox", outbox),
		telemetry.WatchPool("directory", directory))
	if err != nil {
		return err
	}
	if err := s.prepareDatabase(ctx, write); err != nil {
		return err
	}

	var storeID string
	err = s.step("claim the store", func() error {
		return s.waitForDatabase(ctx, func(ctx context.Context) (err error) {
			storeID, err = s.claimStore(ctx, write)
			return err
		})
	})
	if err != nil {
		return err
	}
	if s.callers, err = newCallers(s.config, directory, s.address, s.adminAddress); err != nil {
		return err
	}
	var streams *streaming
	err = s.step("start NATS", func() (err error) {
		streams, err = s.startStreaming(ctx, storeID, outbox, read, share, telemetry)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, streams.stop()) }()
	s.callers.listens = append(s.callers.listens, streams.nats.Address())

	// Subscriptions have no end of their own: this is what ends them when the server drains.
	serving, endSubscriptions := context.WithCancel(context.Background())
	defer endSubscriptions()
	build := version.Read()
	store := service.NewEventStore(service.Config{
		Write: write, Read: read, ReadShare: share,
		MessageSize:       messageSize(storeID),
		MaxMessageBytes:   publisher.MaxMessageSize(int(s.config.NATS.MaxPayload)),
		MaxSaveBytes:      s.config.GRPC.MaxReceiveMessageSize,
		MaxPageBytes:      s.config.GRPC.MaxSendMessageSize,
		Saved:             streams.hint,
		BoundaryCreated:   streams.publisher.Add,
		BoundaryDeleted:   streams.publisher.Remove,
		Configured:        s.config.Names,
		Feed:              streams.feed,
		AcquireSubscriber: acquireSubscriber(streams.leases), MaxSubscriberNames: s.config.GRPC.MaxSubscriberNames,
		Serving:   serving,
		Telemetry: telemetry.OfStore(streams.publisher.Traced),
		Log:       s.log,
		Info: &orisunpb.GetServerInfoResponse{
			Version: build.Version, GitCommit: build.Commit, BuildTime: build.Date,
			Backend: orisunpb.StorageBackend_STORAGE_BACKEND_POSTGRES,
			NodeId:  s.config.NATS.ServerName,
			Capabilities: []orisunpb.ServerCapability{
				orisunpb.ServerCapability_SERVER_CAPABILITY_COMMAND_CONTEXT_CONSISTENCY,
				orisunpb.ServerCapability_SERVER_CAPABILITY_CATCH_UP_SUBSCRIPTIONS,
				orisunpb.ServerCapability_SERVER_CAPABILITY_INDEX_MANAGEMENT,
				orisunpb.ServerCapability_SERVER_CAPABILITY_BOUNDARY_CATALOG,
				orisunpb.ServerCapability_SERVER_CAPABILITY_GRPC_HEALTH,
			},
		},
	})
	if err := s.step("clean up indexes", func() error { return s.waitForDatabase(ctx, store.CleanIndexes) }); err != nil {
		return err
	}
	err = s.step("look for an admin", func() error {
		return s.waitForDatabase(ctx, func(ctx context.Context) error { return s.callers.bootstrap(ctx, s.config, store, s.log) })
	})
	if err != nil {
		return err
	}
	observed, err := telemetry.OfCalls()
	if err != nil {
		return fmt.Errorf("metrics of calls: %w", err)
	}
	healthy := transport.NewHealth()
	servers, err := transport.New(s.config.GRPC, transport.Services{Store: store, Admin: s.callers.admin, Health: healthy}, s.callers.auth, observed, s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop(store.Close)) }()
	calls, err := httpapi.NewCalls(servers.OverHTTP, servers.Door, s.config)
	if err != nil {
		return fmt.Errorf("calls by HTTP: %w", err)
	}
	defer servers.OverHTTP.Stop()
	admin.Answer(calls)
	admin.Readiness.RestOn(s.callers.auth, readinessChecks(s.config, probe, streams, store.Shortage), warnOfLoss(probe), warnOfMissingRights(probe), warnOfOpenSchemas(probe), s.callers.warnOfDefaultPassword)
	postgreSQLAnswers := func() bool { return admin.Readiness.Answers("postgresql") }
	if err := telemetry.WatchNode(postgreSQLAnswers, streams.nats.Stored); err != nil {
		return fmt.Errorf("metrics of the node: %w", err)
	}
	watching, endWatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(admin.Readiness.Ready(watching, healthy))
	defer watch.Wait()
	defer endWatch()
	return s.serve(ctx, servers.Listening, admin, healthy, endSubscriptions, listener, own)
}

// messageSize is what an event takes at most when it is published.
func messageSize(storeID string) func(boundary, eventID, eventType string, data, metadata int) int {
	return func(boundary, eventID, eventType string, data, metadata int) int {
		return publisher.MessageSize(boundary, publisher.Source(storeID, boundary), eventID, eventType, data, metadata)
	}
}

// prepareDatabase leaves a PostgreSQL that has what this binary needs.
func (s *Server) prepareDatabase(ctx context.Context, pool *pgxpool.Pool) (err error) {
	defer func() { err = nameGrants(err) }()
	pg := s.config.PG
	err = s.step("connect to PostgreSQL", func() error {
		return s.waitForDatabase(ctx, func(ctx context.Context) error {
			if err := pgsession.CheckPooling(ctx, pool.Config().ConnConfig); err != nil {
				return err
			}
			return pool.Ping(ctx)
		})
	})
	if err != nil {
		return fmt.Errorf("PostgreSQL at %s, port %d, database %s, user %s: %w", pg.Host, pg.Port, pg.Name, pg.User, err)
	}
	if err := s.step("migrate", func() error { return s.waitForDatabase(ctx, s.migrate) }); err != nil {
		return err
	}
	if err := s.waitForDatabase(ctx, func(ctx context.Context) error { return s.warnOfMissingRights(ctx, pool) }); err != nil {
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

// serve answers calls until ctx ends or something that it stands on does.
func (s *Server) serve(ctx context.Context, server *transport.Server, admin *httpapi.Server, healthy *transport.Health, endSubscriptions func(), listener net.Listener, own *postgres.Server) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.log.Info("serving", "grpc", listener.Addr().String(), "http", s.adminAddress.String(), "boundaries", len(s.config.Boundaries), "version", version.Read().Version)
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
		ended = errors.New("HTTP on ORISUN_ADMIN_PORT ended") // stop says why
	case <-done(own):
		ended = fmt.Errorf("our own PostgreSQL ended: %w", own.Err())
		limit = min(limit, transport.StreamGrace) // nothing answers the calls in flight
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

// done is the end of our own PostgreSQL, or never where there is none.
func done(own *postgres.Server) <-chan struct{} {
	if own == nil {
		return nil
	}
	return own.Done()
}

// stop gives an ending what remains of the time to drain, beyond the end of what ran.
func (s *Server) stop(end func(context.Context) error) error {
	return endWithin(s.config.Shutdown.Timeout, end)
}

func endWithin(limit time.Duration, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return end(ctx)
}

// step tells what the start does and how long it took.
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
