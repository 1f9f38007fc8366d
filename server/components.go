package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
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
	"github.com/oexza/orisun/service/consumer"
)

// component is a part of the server. start uses what the components before it made. A start that fails leaves nothing
// behind. stop is nil where nothing has to stop.
type component struct {
	name  string
	start func(ctx context.Context) error
	stop  func(ctx context.Context) error
}

// starting is the list of components that have started.
type starting struct {
	limit   time.Duration // for each to stop
	started []component
}

func (s *starting) start(ctx context.Context, c component) error {
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	s.started = append(s.started, c)
	return nil
}

// stop stops all of them, the last one first.
func (s *starting) stop() (err error) {
	for _, c := range slices.Backward(s.started) {
		if c.stop == nil {
			continue
		}
		if failed := endWithin(s.limit, c.stop); failed != nil {
			err = errors.Join(err, fmt.Errorf("stop %s: %w", c.name, failed))
		}
	}
	s.started = nil
	return err
}

// running is what the components of a server have made.
type running struct {
	*Server

	listener  net.Listener
	telemetry *telemetry.Telemetry
	admin     *httpapi.Server
	own       *postgres.Server // nil where PostgreSQL is external

	write, read *pgxpool.Pool
	outbox      *pgxpool.Pool // the publisher's alone: slow queries do not delay the outbox
	directory   *pgxpool.Pool // lookups of users, which every call needs
	probe       *pgxpool.Pool // readiness checks: reads and logins do not make the server appear not ready
	share       *service.ReadShare
	conflicts   *service.Conflicts

	storeID          string
	streams          *streaming
	store            *service.EventStore
	subscriptions    *service.Subscriptions
	consumers        *consumer.Node
	nodes            *nodes
	lag              *service.SubscriptionLag
	servers          *transport.Servers
	healthy          *transport.Health
	endSubscriptions context.CancelFunc
}

// components are listed in the order in which they start. They stop in the opposite one.
func (r *running) components() []component {
	var stopPprof func() error
	var endWatch, endLag context.CancelFunc
	var watch, measuring sync.WaitGroup
	return []component{
		{"gRPC listener", r.listen, func(context.Context) error { return closeListener(r.listener) }},
		{"telemetry", func(ctx context.Context) (err error) {
			r.telemetry, err = telemetry.Start(ctx, r.config.OTEL, r.config.NATS.ServerName, r.log)
			return err
		}, func(ctx context.Context) error { return r.telemetry.Stop(ctx) }},
		{"HTTP", r.startHTTP, func(ctx context.Context) error { return r.admin.Stop(ctx) }},
		{"pprof", func(ctx context.Context) (err error) {
			stopPprof, err = startPprof(ctx, r.config.Pprof, r.log)
			return err
		}, func(context.Context) error { return stopPprof() }},
		{"PostgreSQL", r.startPostgreSQL, func(ctx context.Context) error {
			if r.own == nil {
				return nil
			}
			return r.own.Stop(ctx)
		}},
		{"connection to PostgreSQL", func(ctx context.Context) error { return nameGrants(r.checkConnection(ctx)) }, nil},
		r.pool("write", &r.write, writePool(r.config.PG), pgsession.Planning),
		r.pool("read", &r.read, readPool(r.config.PG), pgsession.Planning),
		r.pool("outbox", &r.outbox, adminPool(r.config.PG), pgsession.Planning),
		r.pool("directory", &r.directory, directoryPool(r.config.PG)),
		r.pool("probe", &r.probe, probePool(r.config.PG)),
		{"database", r.startDatabase, nil},
		{"NATS", r.startNATS, func(context.Context) error { return r.streams.stop() }},
		{"event store", r.startStore, func(ctx context.Context) error {
			r.endSubscriptions()
			r.consumers.Close()
			return r.store.Close(ctx)
		}},
		{"answers to other nodes", func(context.Context) error {
			return r.nodes.start(r.store)
		}, func(context.Context) error { return r.nodes.stop() }},
		{"lag of subscriptions", func(ctx context.Context) error {
			var running context.Context
			running, endLag = context.WithCancel(ctx) //nolint:gosec // the stop below calls it
			measuring.Go(func() { r.lag.Run(running) })
			return nil
		}, func(context.Context) error {
			endLag()
			measuring.Wait()
			return nil
		}},
		{"users", func(ctx context.Context) error {
			return r.step("look for an admin", func() error {
				return r.waitForDatabase(ctx, func(ctx context.Context) error {
					return r.callers.bootstrap(ctx, r.config, r.store, r.log)
				})
			})
		}, nil},
		{"calls", r.startCalls, func(context.Context) error {
			r.servers.OverHTTP.Stop()
			return nil
		}},
		{"readiness", func(ctx context.Context) error {
			var watching context.Context
			watching, endWatch = context.WithCancel(ctx) //nolint:gosec // the stop below calls it
			watch.Go(r.admin.Readiness.Ready(watching, r.healthy))
			return nil
		}, func(context.Context) error {
			endWatch()
			watch.Wait()
			return nil
		}},
	}
}

func (r *running) listen(ctx context.Context) (err error) {
	if r.listener, err = listen(ctx, r.config.GRPC.Host, r.config.GRPC.Port); err != nil {
		return fmt.Errorf("ORISUN_GRPC_PORT: %w", err)
	}
	r.address = r.listener.Addr()
	return nil
}

func (r *running) startHTTP(ctx context.Context) error {
	listener, err := listen(ctx, r.config.Admin.Host, r.config.Admin.Port)
	if err != nil {
		return fmt.Errorf("ORISUN_ADMIN_PORT: %w", err)
	}
	r.adminAddress = listener.Addr()
	_, port, err := net.SplitHostPort(r.address.String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	r.admin, err = httpapi.Start(ctx, listener, port, r.config, r.telemetry.Metrics(), r.log)
	return err
}

func (r *running) startPostgreSQL(ctx context.Context) (err error) {
	if !r.config.PG.Embedded() {
		return nil
	}
	if r.own, err = startPostgres(ctx, &r.config.PG, r.log); err != nil {
		return err
	}
	if r.config.PG.Password == config.DefaultDatabasePassword {
		r.log.Warn(warnDefaultDatabasePassword, "user", r.config.PG.User, "database", r.config.PG.Name)
		r.admin.Readiness.Warn(warnDefaultDatabasePassword)
	}
	return nil
}

// pool is a component that opens a pool, and measures it unless it is the probe's.
func (r *running) pool(name string, to **pgxpool.Pool, limits poolLimits, settings ...pgsession.Settings) component {
	return component{"pool " + name, func(ctx context.Context) (err error) {
		if *to, err = newPool(ctx, r.config.PG, limits, r.telemetry.TraceQueries, settings...); err != nil ||
			name == "probe" {
			return err
		}
		if err := r.telemetry.WatchPool(name, *to); err != nil {
			(*to).Close()
			return err
		}
		return nil
	}, func(context.Context) error {
		(*to).Close()
		return nil
	}}
}

// startDatabase migrates, creates the configured boundaries and claims the store.
func (r *running) startDatabase(ctx context.Context) error {
	r.share, r.conflicts = service.NewReadShare(int(r.config.PG.ReadMaxOpen)), service.NewConflicts(time.Now)
	if err := r.prepareDatabase(ctx, r.write); err != nil {
		return err
	}
	return r.step("claim the store", func() error {
		return r.waitForDatabase(ctx, func(ctx context.Context) (err error) {
			r.storeID, err = r.claimStore(ctx, r.write)
			return err
		})
	})
}

func (r *running) startNATS(ctx context.Context) (err error) {
	if r.callers, err = newCallers(r.config, r.directory, r.address, r.adminAddress); err != nil {
		return err
	}
	err = r.step("start NATS", func() (err error) {
		r.streams, err = r.startStreaming(ctx, r.storeID, r.outbox, r.read, r.share, r.conflicts.Forget,
			r.telemetry)
		return err
	})
	if err == nil {
		r.callers.listens = append(r.callers.listens, r.streams.nats.Address())
	}
	return err
}

func (r *running) startStore(ctx context.Context) error {
	// Subscriptions do not end by themselves. This ends them when the server drains.
	var serving context.Context
	serving, r.endSubscriptions = context.WithCancel(context.Background())
	build := version.Read()
	r.nodes = &nodes{
		name: r.config.NATS.ServerName, version: build.Version, storeID: r.storeID, conn: r.streams.nodes(),
		peers: r.streams.nats.Peers, metrics: r.telemetry.Metrics(), counters: r.telemetry.Memory,
		readiness: r.admin.Readiness, log: r.log, leads: r.streams.leads, started: time.Now(),
	}
	r.store = service.NewEventStore(service.Config{
		Write: r.write, Read: r.read, ReadShare: r.share,
		MessageSize:       messageSize(r.storeID),
		MaxMessageBytes:   publisher.MaxMessageSize(int(r.config.NATS.MaxPayload)),
		MaxSaveBytes:      r.config.GRPC.MaxReceiveMessageSize,
		MaxPageBytes:      r.config.GRPC.MaxSendMessageSize,
		Saved:             r.streams.hint,
		BoundaryCreated:   r.streams.publisher.Add,
		BoundaryDeleted:   r.streams.publisher.Remove,
		Configured:        r.config.Names,
		Feed:              r.streams.feed,
		AcquireSubscriber: acquireSubscriber(r.streams.leases), MaxSubscriberNames: r.config.GRPC.MaxSubscriberNames,
		Serving:   serving,
		Cluster:   r.nodes,
		Conflicts: r.conflicts,
		Telemetry: r.telemetry.OfStore(r.streams.publisher.Traced),
		Log:       r.log,
		Info: &orisunpb.GetServerInfoResponse{
			Version: build.Version, GitCommit: build.Commit, BuildTime: build.Date,
			Backend: orisunpb.StorageBackend_STORAGE_BACKEND_POSTGRES,
			NodeId:  r.config.NATS.ServerName,
			Capabilities: []orisunpb.ServerCapability{
				orisunpb.ServerCapability_SERVER_CAPABILITY_COMMAND_CONTEXT_CONSISTENCY,
				orisunpb.ServerCapability_SERVER_CAPABILITY_CATCH_UP_SUBSCRIPTIONS,
				orisunpb.ServerCapability_SERVER_CAPABILITY_INDEX_MANAGEMENT,
				orisunpb.ServerCapability_SERVER_CAPABILITY_BOUNDARY_CATALOG,
				orisunpb.ServerCapability_SERVER_CAPABILITY_GRPC_HEALTH,
				orisunpb.ServerCapability_SERVER_CAPABILITY_SUBSCRIPTIONS,
			},
		},
	})
	r.consumers = consumer.NewNode(consumer.Config{
		Pool: r.outbox, Feed: r.streams.feed, FieldOf: publisher.Field, Name: r.config.NATS.ServerName,
		MaxResponseBytes: r.config.GRPC.MaxSendMessageSize, MaxConsumers: r.config.GRPC.MaxConsumers,
		MaxParked: r.config.GRPC.MaxParkedEvents, Log: r.log,
	})
	r.lag = service.NewSubscriptionLag(r.outbox, r.config.Subscription.LagWarning)
	r.subscriptions = service.NewSubscriptions(r.store, service.SubscriptionsConfig{
		AdminBoundary: r.config.Admin.Boundary, Limit: r.config.GRPC.MaxSubscriptions, Consumers: r.consumers, Lag: r.lag,
	})
	err := r.step("clean up indexes", func() error { return r.waitForDatabase(ctx, r.store.CleanIndexes) })
	if err != nil {
		r.endSubscriptions()
		err = errors.Join(err, endWithin(r.config.Shutdown.Timeout, r.store.Close))
	}
	return err
}

// startCalls prepares the servers of gRPC and HTTP for calls.
func (r *running) startCalls(context.Context) error {
	observed, err := r.telemetry.OfCalls()
	if err != nil {
		return fmt.Errorf("metrics of calls: %w", err)
	}
	r.healthy = transport.NewHealth()
	services := transport.Services{
		Store: r.store, Admin: r.callers.admin, Subscriptions: r.subscriptions, Health: r.healthy,
	}
	if r.servers, err = transport.New(r.config.GRPC, services, r.callers.auth, observed, r.log); err != nil {
		return err
	}
	calls, err := httpapi.NewCalls(r.servers.OverHTTP, r.servers.Door, r.config)
	if err != nil {
		return fmt.Errorf("calls by HTTP: %w", err)
	}
	r.admin.Answer(calls)
	readiness := r.admin.Readiness
	readiness.RestOn(r.callers.auth, readinessChecks(r.config, r.probe, r.streams, r.store.Shortage),
		warnOfLoss(r.probe), warnOfMissingRights(r.probe), warnOfOpenSchemas(r.probe), r.callers.warnOfDefaultPassword,
		r.lag.Warn)
	postgreSQLAnswers := func() bool { return readiness.Answers("postgresql") }
	if err := errors.Join(r.telemetry.WatchNode(postgreSQLAnswers, r.streams.nats.Stored),
		r.lag.Instrument(r.telemetry.Meter())); err != nil {
		return fmt.Errorf("metrics of the node: %w", err)
	}
	return nil
}
