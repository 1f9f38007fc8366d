package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	natsstream "github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/jetstream"
	"github.com/oexza/orisun/server/telemetry"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/service"
)

// streaming moves events from PostgreSQL to subscribers: NATS in this process, the leases, the publisher and the
// feed.
type streaming struct {
	nats      *jetstream.Server
	conns     []*nats.Conn
	leases    *publisher.Leases
	publisher *publisher.Publisher
	feed      *publisher.Feed
	users     *publisher.Projector

	cancelPublisher, cancelLeases   context.CancelFunc
	publishing, projecting, leasing chan error
}

// startStreaming starts NATS and begins to publish. When a later part fails, it ends the parts that began.
func (s *Server) startStreaming(
	ctx context.Context, storeID string, outbox, read *pgxpool.Pool, share *service.ReadShare,
	removed func(boundary string), telemetry *telemetry.Telemetry,
) (_ *streaming, err error) {
	config := s.config.NATS
	var started streaming
	embedded, err := s.jetStreamConfig(storeID)
	if err != nil {
		return nil, err
	}
	if started.nats, err = jetstream.Start(ctx, embedded); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, started.disconnect())
		}
	}()
	for _, name := range []string{"publisher", "feed", "nodes"} {
		conn, err := started.nats.Connect(name)
		if err != nil {
			return nil, fmt.Errorf("connect the %s to NATS: %w", name, err)
		}
		started.conns = append(started.conns, conn)
	}
	database, err := databaseConfig(s.config.PG)
	if err != nil {
		return nil, err
	}
	started.leases = publisher.NewLeases(database, s.log)
	started.feed = publisher.NewFeed(publisher.FeedConfig{
		Pool: read, Share: share.Enter, NATS: started.conns[1], StoreID: storeID, Tracer: telemetry.Tracer(), Log: s.log,
	})
	started.publisher = publisher.New(publisher.Config{
		Leases:    started.leases,
		Database:  outbox,
		NATS:      started.conns[0],
		StoreID:   storeID,
		BatchSize: s.config.Publisher.BatchSize,
		Stream: publisher.StreamLimits{
			Replicas: config.Replicas(), MaxBytes: int64(config.StreamMaxBytes), MaxAge: config.StreamMaxAge,
			MaxMessages: int64(config.StreamMaxMsgs),
		},
		Hinted:    started.feed.Hint,
		Committed: started.feed.Committed,
		Removed:   removed,
		Tracer:    telemetry.Tracer(),
		Logger:    s.log,
	})
	started.users = publisher.NewProjector(started.leases, s.config.Admin.Boundary, "users",
		projectUsers(s.config.Admin.Boundary), s.log)
	if err := errors.Join(started.publisher.Instrument(telemetry.Meter(), telemetry.QueryMeter()),
		started.feed.Instrument(telemetry.Meter())); err != nil {
		return nil, err
	}
	started.run()
	return &started, nil
}

// leads is what this node leads. Those of the boundaries are in the publisher's metrics, too.
func (s *streaming) leads() leadership {
	return leadership{users: s.users.Leads(), jetStream: s.nats.Leads(), stream: func(boundary string) bool {
		return s.nats.LeadsStream(publisher.StreamName(boundary))
	}}
}

// nodes is the connection for requests to other nodes.
func (s *streaming) nodes() *nats.Conn { return s.conns[2] }

// run continues beyond the end of the server's context: draining ends it, in its order.
func (s *streaming) run() {
	var publish, lease context.Context
	publish, s.cancelPublisher = context.WithCancel(context.Background())
	lease, s.cancelLeases = context.WithCancel(context.Background())
	s.publishing, s.projecting, s.leasing = make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { s.leasing <- s.leases.Run(lease) }()
	go func() { s.publishing <- s.publisher.Run(publish) }()
	go func() { s.projecting <- s.users.Run(publish) }()
}

// check returns why JetStream does not answer, or stores nothing.
func (s *streaming) check(ctx context.Context) error {
	if err := s.nats.Check(); err != nil {
		return err
	}
	streams, err := natsstream.New(s.conns[1])
	if err != nil {
		return err
	}
	if _, err := streams.AccountInfo(ctx); err != nil {
		return err
	}
	return s.publisher.Trouble()
}

// hint notifies subscribers that a boundary has new events.
func (s *streaming) hint(boundary string) {
	s.publisher.Hint(boundary)
	s.feed.Hint(boundary)
}

// stop ends publisher and projector at a checkpoint, then the leases, then NATS.
func (s *streaming) stop() error {
	s.cancelPublisher()
	err := errors.Join(<-s.publishing, <-s.projecting)
	s.cancelLeases()
	return errors.Join(err, <-s.leasing, s.disconnect())
}

func (s *streaming) disconnect() error {
	for _, conn := range s.conns {
		conn.Close()
	}
	return s.nats.Shutdown()
}

func (s *Server) jetStreamConfig(storeID string) (jetstream.Config, error) {
	config := s.config.NATS
	clients, routes, err := transport.NewNATSTLS(config, s.log)
	if err != nil {
		return jetstream.Config{}, err
	}
	started := jetstream.Config{
		ServerName: config.ServerName, Host: config.Host, Port: config.Port,
		LogIn:      s.callers.logInByNATS,
		TLS:        clients,
		MaxPayload: config.MaxPayload, StoreDir: config.StoreDir, Logger: s.log,
	}
	if config.ClusterEnabled {
		started.Cluster = &jetstream.ClusterConfig{
			Name: config.ClusterName, StoreID: storeID, TLS: routes, Host: config.ClusterHost, Port: config.ClusterPort,
			Advertise: config.ClusterAdvertise,
			User:      config.ClusterUsername, Password: config.ClusterPassword, Routes: config.ClusterRoutes,
			StartTimeout: config.ClusterTimeout,
		}
	}
	return started, nil
}
