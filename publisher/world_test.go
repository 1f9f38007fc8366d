package publisher_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	embedded "github.com/oexza/orisun/cmd/orisun/jetstream"
	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// patience bounds every wait of the tests: it is reached only when something is broken.
const patience = time.Minute

// maxPayload is small, so that oversized events are.
const maxPayload = 64 << 10

func startNATS(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{
		ServerName: "test", Host: "127.0.0.1", User: "admin", Password: "changeit", MaxPayload: maxPayload, StoreDir: dir, Logger: logTo(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNATS(t, server) })
	return server
}

func stopNATS(t testing.TB, server *embedded.Server) {
	t.Helper()
	if err := server.Shutdown(); err != nil {
		t.Error(err)
	}
}

func connect(t testing.TB, server *embedded.Server) *nats.Conn {
	t.Helper()
	conn, err := server.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func logTo(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// world is one database with the boundary "orders" and one NATS server.
type world struct {
	t    testing.TB
	pool *pgxpool.Pool
	nats *embedded.Server
	dir  string // of NATS
}

const boundary = "orders"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, pool: pgtest.New(t), dir: t.TempDir()}
	pgtest.Boundary(t, w.pool, boundary)
	w.nats = startNATS(t, w.dir)
	return w
}

// node is a publisher with its leases, as a server has them.
type node struct {
	*publisher.Publisher
	leases *publisher.Leases
	stop   func()
}

// startNode runs a publisher until stop, or until the test ends.
func (w *world) startNode() *node {
	w.t.Helper()
	conn, err := w.nats.Connect("publisher")
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{leases: publisher.NewLeases(w.pool.Config().ConnConfig, logTo(w.t))}
	n.Publisher = publisher.New(publisher.Config{
		Boundaries: []string{boundary}, Leases: n.leases, Database: w.pool, NATS: conn, Source: "/orisun", BatchSize: 100, Logger: logTo(w.t),
	})
	stopLeases := inBackground(w.t, n.leases.Run)
	stopPublisher := inBackground(w.t, n.Run)
	n.stop = func() {
		stopPublisher()
		stopLeases()
		conn.Close()
	}
	w.t.Cleanup(n.stop)
	return n
}

// inBackground runs something that ends with its context; stop ends it and waits, more calls do nothing.
func inBackground(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// save stores events, one save each, and returns when they are committed.
func (w *world) save(ids ...string) {
	w.t.Helper()
	if err := save(w.t.Context(), w.pool, ids...); err != nil {
		w.t.Fatal(err)
	}
}

func save(ctx context.Context, tx db.DBTX, ids ...string) error {
	var params db.SaveRequestsParams
	params.Boundary = boundary
	for i, id := range ids {
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, -1)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, -1)
		params.EventRequests = append(params.EventRequests, int32(i+1))
		params.EventIds = append(params.EventIds, id)
		params.EventTypes = append(params.EventTypes, "Order Placed")
		params.Data = append(params.Data, fmt.Sprintf(`{"order": %q}`, id))
		params.Metadata = append(params.Metadata, `{"by": "test"}`)
	}
	_, err := db.New().SaveRequests(ctx, tx, params)
	return err
}

// ids are n distinct event ids.
func ids(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// stored are all events of the boundary, in order.
func (w *world) stored() []*orisunpb.Event {
	w.t.Helper()
	var all []*orisunpb.Event
	for {
		params := db.GetMatchingEventsParams{Boundary: boundary, Criteria: "[]", Count: 10_000}
		if len(all) > 0 {
			last := all[len(all)-1].GetPosition()
			params.TransactionID, params.GlobalID = &last.TransactionId, &last.GlobalId
		}
		page, err := db.New().GetMatchingEvents(w.t.Context(), w.pool, params)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page {
			all = append(all, toEvent(e))
		}
		if len(page) < int(params.Count) {
			return all
		}
	}
}

func toEvent(e db.OrisunEvent) *orisunpb.Event {
	return &orisunpb.Event{
		EventId: e.EventID, EventType: e.EventType, Data: e.Data, Metadata: e.Metadata,
		Position:    &orisunpb.Position{TransactionId: e.TransactionID, GlobalId: e.GlobalID},
		DateCreated: timestamppb.New(e.DateCreated),
	}
}

func (w *world) stream() jetstream.Stream {
	w.t.Helper()
	js, err := jetstream.New(connect(w.t, w.nats))
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := js.Stream(w.t.Context(), publisher.StreamName(boundary))
	if err != nil {
		w.t.Fatal(err)
	}
	return stream
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() (bool, error)) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	timeout := time.After(patience)
	for {
		ok, err := holds()
		if ok {
			return
		}
		select {
		case <-poll.C:
		case <-timeout:
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}
