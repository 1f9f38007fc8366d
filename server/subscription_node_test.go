package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/jetstream"
	"github.com/oexza/orisun/server/telemetry"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/service"
)

// node is a server whose parts a test can take away one by one, where the whole program has only one end for all.
type node struct {
	t       testing.TB
	pool    *pgxpool.Pool
	nats    *jetstream.Server
	js      natsjs.JetStream
	leases  *publisher.Leases
	store   *service.EventStore
	address string
	drain   context.CancelFunc // Serving ends

	publisher     atomic.Pointer[publisher.Publisher]
	stopPublisher func()
}

// newNode starts a node; two on one database are a cluster but for their streams, of which each has its own.
func newNode(t testing.TB, database *pgx.ConnConfig) *node {
	t.Helper()
	config := settings(t, database, "ORISUN_PG_READ_MAX_OPEN_CONNS=20")
	var err error
	n := &node{t: t}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))

	// What is started last ends first.
	if n.pool, err = newPool(t.Context(), config.PG, readPool(config.PG), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.pool.Close)
	if _, err := n.pool.Exec(t.Context(), "SELECT orisun.initialize_boundary_tables($1, 'public')",
		eventtest.Boundary); err != nil {
		t.Fatal(err)
	}
	n.nats, err = jetstream.Start(t.Context(), jetstream.Config{
		ServerName: "node", Host: "127.0.0.1", MaxPayload: 1 << 20, StoreDir: t.TempDir(), Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stopNATS)
	feedConn, err := n.nats.Connect("feed")
	if err != nil {
		t.Fatal(err)
	}
	if n.js, err = natsjs.New(feedConn); err != nil {
		t.Fatal(err)
	}
	n.startLeases(log)
	n.startPublisher(log)
	n.serve(config, log)
	return n
}

func (n *node) startLeases(log *slog.Logger) {
	n.leases = publisher.NewLeases(n.pool.Config().ConnConfig, log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.leases.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
}

func (n *node) startPublisher(log *slog.Logger) {
	n.t.Helper()
	conn, err := n.nats.Connect("publisher")
	if err != nil {
		n.t.Fatal(err)
	}
	p := publisher.New(publisher.Config{
		Leases: n.leases, Database: n.pool, NATS: conn, StoreID: "test", BatchSize: 1000, Logger: log,
	})
	n.publisher.Store(p)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	n.stopPublisher = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
		conn.Close()
	})
	n.t.Cleanup(n.stopPublisher)
}

func (n *node) restartPublisher() {
	n.stopPublisher()
	n.startPublisher(slog.New(slog.DiscardHandler))
}

func (n *node) serve(config *config.Config, log *slog.Logger) {
	n.t.Helper()
	serving, drain := context.WithCancel(context.Background())
	n.drain = drain
	n.store = service.NewEventStore(service.Config{
		Write: n.pool, Read: n.pool, MessageSize: messageSize("test"), MaxMessageBytes: 1 << 20,
		MaxPageBytes: config.GRPC.MaxSendMessageSize, Info: &orisunpb.GetServerInfoResponse{},
		Saved: func(boundary string) { n.publisher.Load().Hint(boundary) },
		Feed: publisher.NewFeed(publisher.FeedConfig{
			Pool: n.pool, NATS: n.js.Conn(), StoreID: "test", Log: log,
		}),
		AcquireSubscriber: acquireSubscriber(n.leases),
		Serving:           serving,
	})
	if _, err := n.pool.Exec(n.t.Context(), "SELECT orisun.initialize_boundary_tables($1, 'admin')",
		config.Admin.Boundary); err != nil {
		n.t.Fatal(err)
	}
	listener, err := listen(n.t.Context(), "127.0.0.1", 0)
	if err != nil {
		n.t.Fatal(err)
	}
	callers, err := newCallers(config, n.pool, listener.Addr())
	if err == nil {
		err = callers.bootstrap(n.t.Context(), config, n.store, log)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	observed, err := telemetry.NewCallObserver(nil, nil, func() bool { return false })
	if err != nil {
		n.t.Fatal(err)
	}
	servers, err := transport.New(config.GRPC,
		transport.Services{Store: n.store, Admin: callers.admin, Health: health.NewServer()}, callers.auth, observed, log)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- servers.Listening.Serve(listener) }()
	n.t.Cleanup(func() {
		drain()
		servers.Listening.GracefulStop()
		if err := errors.Join(<-served, n.store.Close(context.Background())); err != nil {
			n.t.Error(err)
		}
	})
}

func (n *node) stopNATS() {
	if err := n.nats.Shutdown(); err != nil {
		n.t.Error(err)
	}
}

// What JetStream makes of a purge or a deletion is its own matter: one that fails, or breaks the stream, disturbs as
// well.
func (n *node) purge() {
	stream, err := n.js.Stream(context.Background(), publisher.StreamName(eventtest.Boundary))
	if err == nil {
		err = stream.Purge(context.Background())
	}
	if err != nil {
		n.t.Logf("purge: %v", err)
	}
}

func (n *node) deleteStream() {
	if err := n.js.DeleteStream(context.Background(), publisher.StreamName(eventtest.Boundary)); err != nil {
		n.t.Logf("delete the stream: %v", err)
	}
}

// client dials the node with the default credentials, on a connection of its own.
func (n *node) client() orisunpb.EventStoreClient {
	n.t.Helper()
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(basic{}))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return orisunpb.NewEventStoreClient(conn)
}
