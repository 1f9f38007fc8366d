package publisher_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	own "github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	embedded "github.com/oexza/orisun/server/jetstream"
)

// timeout bounds every wait of the tests: it is reached only when something is broken.
const testTimeout = time.Minute

// maxPayload is small, so that oversized events are, and above the 64 KiB that JetStream takes of headers.
const maxPayload = 256 << 10

func startNATS(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{
		ServerName: "test", Host: "127.0.0.1", MaxPayload: maxPayload, StoreDir: dir, Logger: logTo(t),
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

func logTo(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// world is one database with the boundary "orders" and one NATS server.
type world struct {
	t    testing.TB
	pool *pgxpool.Pool
	nats *embedded.Server
	dir  string // of NATS

	storeID string
	limits  publisher.StreamLimits
	batch   int
	config  jetstream.StreamConfig // of a stream that was deleted
}

const boundary = "orders"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, pool: pgtest.New(t), dir: t.TempDir(), batch: 100, storeID: "test"}
	pgtest.Boundary(t, w.pool, boundary)
	w.nats = startNATS(t, w.dir)
	return w
}

// messages are what the stream holds, each with the global_id of the event that went before it.
type message struct {
	event    *orisunpb.Event
	previous int64
}

// messages reads the stream from its first message to its last, as any NATS client would.
func (w *world) messages() []message {
	w.t.Helper()
	stream := w.stream()
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := stream.OrderedConsumer(w.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	iterator, err := consumer.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	defer iterator.Stop()
	var all []message
	for {
		got, err := iterator.Next(jetstream.NextMaxWait(testTimeout))
		if err != nil {
			w.t.Fatal(err)
		}
		event, previous, err := publisher.Decode(got.Headers(), got.Data())
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, message{event, previous})
		metadata, err := got.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		if metadata.Sequence.Stream >= state.LastSeq {
			return all
		}
	}
}

// isPublished waits until the stream ends with the log's last event, and fails unless the stream is then the log,
// message for message, from the event with this global_id on. A stub counts as the event it stands for.
func (w *world) isPublished(from int64) {
	w.t.Helper()
	log := w.stored()
	last := log[len(log)-1].GetPosition().GetGlobalId()
	w.reaches(last)
	got := w.messages()
	if from < 0 { // the stream begins where it may
		from = got[0].event.GetPosition().GetGlobalId()
	}
	previous := publisher.NoPrevious
	for len(log) > 0 && log[0].GetPosition().GetGlobalId() < from {
		previous = log[0].GetPosition().GetGlobalId()
		log = log[1:]
	}
	for i := range min(len(log), len(got)) {
		if got[i].event.GetData() == "" {
			log[i] = proto.CloneOf(log[i])
			log[i].Data, log[i].Metadata = "", ""
		}
		if diff := cmp.Diff(log[i], got[i].event, protocmp.Transform()); diff != "" || got[i].previous != previous {
			w.t.Fatalf("message %d says that event %d went before, the log %d (-log +stream):\n%s",
				i, got[i].previous, previous, diff)
		}
		previous = log[i].GetPosition().GetGlobalId()
	}
	if len(got) != len(log) {
		w.t.Fatalf("%d messages for %d events", len(got), len(log))
	}
}

// reaches waits until the stream's last message is the event with this global_id.
func (w *world) reaches(globalID int64) {
	w.t.Helper()
	js, err := jetstream.New(connect(w.t, w.nats))
	if err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, fmt.Sprintf("the stream reaches event %d", globalID), func() (bool, error) {
		stream, err := js.Stream(w.t.Context(), publisher.StreamName(boundary))
		if err != nil {
			return false, err
		}
		last, err := stream.GetLastMsgForSubject(w.t.Context(), publisher.Subjects(boundary))
		if err != nil {
			return false, err
		}
		event, _, err := publisher.Decode(last.Header, last.Data)
		return event.GetPosition().GetGlobalId() == globalID, err
	})
}

// checkpoint is what PostgreSQL notes as published.
func (w *world) checkpoint() int64 {
	w.t.Helper()
	row, err := db.New().GetPublishedPosition(w.t.Context(), w.pool, boundary)
	if err != nil {
		w.t.Fatal(err)
	}
	return row.GlobalID
}

func (w *world) moveCheckpoint(globalID int64) {
	w.t.Helper()
	w.execute("SELECT orisun.move_published_position($1, $2, $3)", boundary, globalID+1, globalID)
}

func (w *world) execute(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// node is a publisher with its leases, as a server has them.
type node struct {
	*publisher.Publisher
	nats *nats.Conn
	stop func()
}

// startNode runs a publisher until stop, or until the test ends.
func (w *world) startNode() *node {
	w.t.Helper()
	conn, err := w.nats.Connect("publisher")
	if err != nil {
		w.t.Fatal(err)
	}
	leases := publisher.NewLeases(w.pool.Config().ConnConfig, logTo(w.t))
	n := &node{nats: conn, Publisher: publisher.New(publisher.Config{
		Leases: leases, Database: w.pool, NATS: conn, StoreID: w.storeID, BatchSize: w.batch,
		Stream: w.limits, Logger: logTo(w.t),
	})}
	stopLeases := inBackground(w.t, leases.Run)
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
	t.Helper()
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
	params := db.SaveRequestsParams{CriterionRequests: []int32{}, Criteria: []string{}}
	for i, id := range ids {
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, -1)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, -1)
		params.EventRequests = append(params.EventRequests, int32(i+1))
		params.EventIds = append(params.EventIds, id)
		params.EventTypes = append(params.EventTypes, "Order Placed")
		params.Data = append(params.Data, fmt.Sprintf(`{"order": %q}`, id))
		params.Metadata = append(params.Metadata, `{"by": "test"}`)
	}
	var boundaries own.Boundaries
	conn, err := boundaries.On(ctx, tx, boundary)
	if err != nil {
		return err
	}
	_, err = db.New().SaveRequests(ctx, conn, params)
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
	timeout := time.After(testTimeout)
	for {
		ok, err := holds()
		if ok {
			return
		}
		select {
		case <-poll.C:
		case <-timeout:
			t.Fatalf("%s: not within %v: %v", what, testTimeout, err)
		}
	}
}
