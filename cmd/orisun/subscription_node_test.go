package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/jetstream"
	"github.com/oexza/orisun/service"
)

const followedBoundary = "orisun_test_1"

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
	config, _, err := config.Load(nil, append(outside(database), "ORISUN_PG_READ_MAX_OPEN_CONNS=20"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))

	// What is started last ends first.
	if n.pool, err = newPool(t.Context(), config.PG, readPool(config.PG), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.pool.Close)
	if _, err := n.pool.Exec(t.Context(), "SELECT orisun.initialize_boundary_tables($1, 'public')", followedBoundary); err != nil {
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
		Write: n.pool, Read: n.pool, MessageSize: messageSize("test"), MaxMessageBytes: 1 << 20, MaxPageBytes: config.GRPC.MaxSendMessageSize, Info: &orisunpb.GetServerInfoResponse{},
		Saved:             func(boundary string) { n.publisher.Load().Hint(boundary) },
		Feed:              publisher.NewFeed(publisher.FeedConfig{Pool: n.pool, NATS: n.js.Conn(), StoreID: "test", Log: log}),
		AcquireSubscriber: acquireSubscriber(n.leases),
		Serving:           serving,
	})
	if _, err := n.pool.Exec(n.t.Context(), "SELECT orisun.initialize_boundary_tables($1, 'admin')", config.Admin.Boundary); err != nil {
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
	observed, err := newCallObserver(nil, nil, func() bool { return false })
	if err != nil {
		n.t.Fatal(err)
	}
	servers, err := newGRPCServers(config, n.store, callers, observed, health.NewServer(), log)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- servers.listening.Serve(listener) }()
	n.t.Cleanup(func() {
		drain()
		servers.listening.GracefulStop()
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

// What JetStream makes of a purge or a deletion is its own matter: one that fails, or breaks the stream, disturbs as well.
func (n *node) purge() {
	stream, err := n.js.Stream(context.Background(), publisher.StreamName(followedBoundary))
	if err == nil {
		err = stream.Purge(context.Background())
	}
	if err != nil {
		n.t.Logf("purge: %v", err)
	}
}

func (n *node) deleteStream() {
	if err := n.js.DeleteStream(context.Background(), publisher.StreamName(followedBoundary)); err != nil {
		n.t.Logf("delete the stream: %v", err)
	}
}

// client dials the node with the default credentials, on a connection of its own.
func (n *node) client() orisunpb.EventStoreClient {
	n.t.Helper()
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(basic{}))
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

// stored is everything in the boundary that matches, read in pages by GetEvents.
func stored(t testing.TB, client orisunpb.EventStoreClient, query *orisunpb.Query) (all []*orisunpb.Event) {
	t.Helper()
	after := start
	for {
		page, err := client.GetEvents(context.Background(), &orisunpb.GetEventsRequest{Boundary: followedBoundary, Query: query, AfterPosition: after, Count: 5000})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.GetEvents()) == 0 {
			return all
		}
		all = append(all, page.GetEvents()...)
		after = all[len(all)-1].GetPosition()
	}
}

var start = &orisunpb.Position{TransactionId: -1, GlobalId: -1}

// save stores one save of events, whose data tells the writer, a number and its parity.
func save(t testing.TB, client orisunpb.EventStoreClient, writer string, from, count int) {
	t.Helper()
	request := &orisunpb.SaveEventsRequest{Boundary: followedBoundary}
	for i := from; i < from+count; i++ {
		request.Events = append(request.Events, &orisunpb.EventToSave{
			EventId: writer + "-" + strconv.Itoa(i), EventType: "Written", Metadata: `{}`,
			Data: fmt.Sprintf(`{"writer": "%s", "n": %d, "odd": %t, "note": "line\nbreak"}`, writer, i, i%2 == 1),
		})
	}
	if _, err := client.SaveEvents(context.Background(), request); err != nil {
		t.Errorf("save: %v", err)
	}
}

func where(pairs ...string) *orisunpb.Query {
	criterion := &orisunpb.Criterion{}
	for i := 0; i < len(pairs); i += 2 {
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: pairs[i], Value: pairs[i+1]})
	}
	return &orisunpb.Query{Criteria: []*orisunpb.Criterion{criterion}}
}

// subscription reads a stream and notes what came.
type subscription struct {
	t    testing.TB
	end  context.CancelFunc
	done chan struct{}
	err  error // once done

	mu      sync.Mutex
	events  []*orisunpb.Event
	changed chan struct{}
}

// subscribe returns when the server has said where the stream begins.
func subscribe(t testing.TB, client orisunpb.EventStoreClient, request *orisunpb.CatchUpSubscribeToEventStoreRequest) *subscription {
	t.Helper()
	if request.GetBoundary() == "" {
		request.Boundary = followedBoundary
	}
	ctx, end := context.WithCancel(context.Background())
	stream, err := client.CatchUpSubscribeToEvents(ctx, request)
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		end()
		t.Fatal(err)
	}
	s := &subscription{t: t, end: end, done: make(chan struct{}), changed: make(chan struct{})}
	go s.receive(stream)
	t.Cleanup(s.stop)
	return s
}

func (s *subscription) receive(stream grpc.ServerStreamingClient[orisunpb.Event]) {
	defer close(s.done)
	for {
		event, err := stream.Recv()
		if err != nil {
			s.err = err
			return
		}
		s.mu.Lock()
		s.events = append(s.events, event)
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

func (s *subscription) stop() {
	s.end()
	<-s.done
}

func (s *subscription) received() (events []*orisunpb.Event, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.events), s.changed
}

// reaches waits for the event with this id, and returns all that came.
func (s *subscription) reaches(id string) []*orisunpb.Event {
	s.t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		events, changed := s.received()
		if len(events) > 0 && events[len(events)-1].GetEventId() == id {
			return events
		}
		select {
		case <-changed:
		case <-s.done:
			s.t.Fatalf("the subscription ended after %d events: %v", len(events), s.err)
		case <-timeout.C:
			s.t.Fatalf("after %d events, %s never came", len(events), id)
		}
	}
}

// wants waits until exactly these events came.
func (s *subscription) wants(want []*orisunpb.Event) {
	s.t.Helper()
	if len(want) == 0 {
		s.t.Fatal("no event is expected: this would show nothing")
	}
	same(s.t, s.reaches(want[len(want)-1].GetEventId()), want)
}

func same(t testing.TB, got, want []*orisunpb.Event) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%d events came, want %d: the first missing one is %v", len(got), len(want), want[i])
		case i >= len(want):
			t.Fatalf("%d events came, want %d: the first one too many is %v", len(got), len(want), got[i])
		case got[i].String() != want[i].String():
			t.Fatalf("event %d is %v, want %v: each once, in order, unchanged", i, got[i], want[i])
		}
	}
}
