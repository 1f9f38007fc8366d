package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/jetstream"
)

const feedBoundary = "bank"

var feedSource = Source("test", feedBoundary)

// store is a boundary in PostgreSQL and its stream, with a hand-driven publisher: these tests choose what the stream
// brings and what not.
type store struct {
	own    boundary.Boundaries
	t      testing.TB
	pool   *pgxpool.Pool
	server *jetstream.Server
	js     natsjs.JetStream
	saved  []*orisunpb.Event

	published func(*orisunpb.Event) // of each event before it is published; nil: nothing
}

func newStore(t testing.TB) *store {
	t.Helper()
	s := &store{t: t, pool: pgtest.New(t)}
	pgtest.Boundary(t, s.pool, feedBoundary)
	server, err := jetstream.Start(t.Context(), jetstream.Config{
		ServerName: "test", Host: "127.0.0.1", MaxPayload: 1 << 20, StoreDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server = server
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	conn, err := server.Connect("feed")
	if err != nil {
		t.Fatal(err)
	}
	if s.js, err = natsjs.New(conn); err != nil {
		t.Fatal(err)
	}
	// JetStream removes the folder of all streams behind its answer to the deletion of the only one; making one
	// meanwhile may fail.
	s.makeStream("held")
	s.makeStream(feedBoundary)
	return s
}

func (s *store) makeStream(boundary string) {
	s.t.Helper()
	_, err := s.js.CreateStream(context.Background(), natsjs.StreamConfig{
		Name: StreamName(boundary), Subjects: []string{Subjects(boundary)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// save stores events, each as a save of its own with n and parity in its data.
func (s *store) save(n int) {
	s.t.Helper()
	params := db.SaveRequestsParams{CriterionRequests: []int32{}, Criteria: []string{}}
	for i := range n {
		number := len(s.saved) + i
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, -1)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, -1)
		params.EventRequests = append(params.EventRequests, int32(i+1))
		params.EventIds = append(params.EventIds, fmt.Sprint(number))
		params.EventTypes = append(params.EventTypes, "Counted")
		params.Data = append(params.Data, fmt.Sprintf(`{"n": %d, "odd": %t}`, number, number%2 == 1))
		params.Metadata = append(params.Metadata, "{}")
	}
	own, err := s.own.On(context.Background(), s.pool, feedBoundary)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.New().SaveRequests(context.Background(), own, params); err != nil {
		s.t.Fatal(err)
	}
	s.saved = storedEvents(s.t, s.pool, feedBoundary)
}

// publish brings the events from..to of the boundary into the stream.
func (s *store) publish(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		if s.published != nil {
			s.published(s.saved[i])
		}
		s.send(Encode(feedBoundary, feedSource, s.saved[i], int64(i-1)))
	}
}

func (s *store) send(message *nats.Msg) {
	s.t.Helper()
	if _, err := s.js.PublishMsg(context.Background(), message); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) saveAndPublish(n int) {
	s.t.Helper()
	from := len(s.saved)
	s.save(n)
	s.publish(from, len(s.saved))
}

func (s *store) feed(config FeedConfig) *Feed {
	config.Pool, config.NATS, config.StoreID = s.pool, s.js.Conn(), "test"
	return NewFeed(config)
}

// following is a subscriber that notes what it gets.
type following struct {
	t    testing.TB
	end  context.CancelFunc
	done chan struct{}
	err  error // once done

	looked atomic.Int64

	mu      sync.Mutex
	events  []*orisunpb.Event
	changed chan struct{}
}

func follow(
	t testing.TB, f *Feed, after *orisunpb.Position, criteria []*orisunpb.Criterion, hold <-chan struct{},
) *following {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	s := &following{t: t, end: end, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = f.Follow(ctx, feedBoundary, after, criteria, func(e *orisunpb.Event) error {
			s.mu.Lock()
			s.events = append(s.events, e)
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			if hold != nil {
				<-hold
			}
			return nil
		}, &s.looked)
	}()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *following) stop() {
	s.t.Helper()
	s.end()
	<-s.done
	if !errors.Is(s.err, context.Canceled) {
		s.t.Errorf("Follow ended with %v", s.err)
	}
}

// wants waits until the subscriber has these events, and fails when it has others.
func (s *following) wants(want []*orisunpb.Event) {
	s.t.Helper()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		got, changed := slices.Clone(s.events), s.changed
		s.mu.Unlock()
		for i, e := range got {
			if i >= len(want) || e.GetEventId() != want[i].GetEventId() || e.GetData() != want[i].GetData() ||
				positionOf(e.GetPosition()) != positionOf(want[i].GetPosition()) {
				s.t.Fatalf("event %d is %v; want %d events: each once, in order, unchanged", i, e, len(want))
			}
		}
		if len(got) == len(want) {
			return
		}
		select {
		case <-changed:
		case <-s.done:
			s.t.Fatalf("Follow ended with %v after %d events of %d", s.err, len(got), len(want))
		case <-timeout.C:
			s.t.Fatalf("only %d events of %d arrived", len(got), len(want))
		}
	}
}

// awaitRing returns when the stream's last event is in the ring.
func (s *store) awaitRing(f *Feed) {
	s.t.Helper()
	f.mu.Lock()
	b := f.boundaries[feedBoundary]
	f.mu.Unlock()
	deadline := time.Now().Add(30 * time.Second)
	for {
		b.mu.RLock()
		end := b.ring.end
		b.mu.RUnlock()
		if end == positionOf(s.last()) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the ring ends at %v, the stream at %v", end, s.last())
		}
		runtime.Gosched()
	}
}

func matching(events []*orisunpb.Event, odd bool) (found []*orisunpb.Event) {
	for i, e := range events {
		if i%2 == 1 == odd {
			found = append(found, e)
		}
	}
	return found
}

var (
	fromFirst = &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	onlyOdd   = []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "odd", Value: "true"}}}}
)

func (s *store) last() *orisunpb.Position {
	if len(s.saved) == 0 {
		return fromFirst
	}
	return s.saved[len(s.saved)-1].GetPosition()
}

func TestSubscribersGetWhatIsStoredAndThenWhatComes(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{})
	s.saveAndPublish(1000)
	all := follow(t, f, fromFirst, nil, nil)
	zero := follow(t, f, &orisunpb.Position{}, nil, nil)
	odd := follow(t, f, fromFirst, onlyOdd, nil)
	now := follow(t, f, s.last(), nil, nil)
	middle := follow(t, f, s.saved[499].GetPosition(), nil, nil)
	all.wants(s.saved)
	for range 20 {
		s.saveAndPublish(10)
	}
	all.wants(s.saved)
	zero.wants(s.saved)
	odd.wants(matching(s.saved, true))
	now.wants(s.saved[1000:])
	middle.wants(s.saved[500:])
	for _, f := range []*following{all, odd, now} {
		for f.looked.Load() != s.last().GetGlobalId() { // odd's last event does not match
			runtime.Gosched()
		}
	}
}

func TestPositionsOfNoEventCompareAsPairs(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{})
	s.saveAndPublish(10) // event i has the position {i+1, i}
	future := follow(t, f, &orisunpb.Position{TransactionId: 15, GlobalId: 3}, nil, nil)
	between := follow(t, f, &orisunpb.Position{TransactionId: 5, GlobalId: 1 << 40}, nil, nil)
	before := follow(t, f, &orisunpb.Position{TransactionId: 5, GlobalId: -7}, nil, nil)
	between.wants(s.saved[5:])
	before.wants(s.saved[4:])
	s.saveAndPublish(10)
	future.wants(s.saved[14:])
	between.wants(s.saved[5:])
}

func TestACaughtUpSubscriberDoesNotQueryPostgres(t *testing.T) {
	s := newStore(t)
	s.saveAndPublish(1)
	f := s.feed(FeedConfig{PollInterval: time.Hour})
	// as the publisher of the same node does
	s.published = func(e *orisunpb.Event) { f.Committed(feedBoundary, e.GetPosition()) }
	var subscribers []*following
	for range 20 {
		subscribers = append(subscribers, follow(t, f, fromFirst, nil, nil))
	}
	for _, sub := range subscribers {
		sub.wants(s.saved)
	}
	s.saveAndPublish(1)
	for _, sub := range subscribers {
		sub.wants(s.saved)
	}
	s.awaitRing(f) // from here on all are in it
	before := s.pool.Stat().AcquireCount()
	for range 50 {
		s.saveAndPublish(2)
	}
	for _, sub := range subscribers {
		sub.wants(s.saved)
	}
	ours := int64(50 * 2) // a save, and a look at what it stored
	if queries := s.pool.Stat().AcquireCount() - before - ours; queries != 0 {
		t.Errorf("20 subscribers asked PostgreSQL %d times for 100 events that the stream brought", queries)
	}
}

func TestWhatTheStreamLosesIsReadFromPostgres(t *testing.T) {
	for name, lose := range map[string]func(s *store){
		"messages that never came": func(s *store) { s.save(5) },
		"a purge": func(s *store) {
			s.saveAndPublish(5)
			stream, err := s.js.Stream(context.Background(), StreamName(feedBoundary))
			if err == nil {
				err = stream.Purge(context.Background())
			}
			if err != nil {
				s.t.Fatal(err)
			}
		},
		"the stream, deleted and recreated": func(s *store) {
			s.save(5)
			if err := s.js.DeleteStream(context.Background(), StreamName(feedBoundary)); err != nil {
				s.t.Fatal(err)
			}
			s.save(5)
			s.makeStream(feedBoundary)
		},
		"a message that is not ours": func(s *store) {
			s.send(&nats.Msg{Subject: Subject(feedBoundary, "X"), Data: []byte("hello")})
			s.saveAndPublish(5)
		},
		"the data of an event too large for it": func(s *store) {
			s.save(1)
			stub := Encode(feedBoundary, feedSource, s.saved[len(s.saved)-1], int64(len(s.saved)-2))
			Truncate(stub)
			s.send(stub)
		},
		"its order": func(s *store) {
			n := len(s.saved)
			s.save(3)
			s.publish(n+1, n+2)
			s.publish(n, n+1)
			s.publish(n+2, n+3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			f := s.feed(FeedConfig{})
			s.saveAndPublish(10)
			all, odd := follow(t, f, fromFirst, nil, nil), follow(t, f, fromFirst, onlyOdd, nil)
			all.wants(s.saved)
			for range 3 {
				lose(s)
				all.wants(s.saved)
				odd.wants(matching(s.saved, true))
				s.saveAndPublish(3)
				all.wants(s.saved)
				odd.wants(matching(s.saved, true))
			}
		})
	}
}

func TestWithoutJetStreamEventsArriveWithinTwoPolls(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{})
	s.saveAndPublish(10)
	sub := follow(t, f, fromFirst, nil, nil)
	sub.wants(s.saved)
	if err := s.server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		start := time.Now()
		s.save(10)
		sub.wants(s.saved)
		if took := time.Since(start); took > 5*time.Second { // two intervals of 500 ms, and room for a busy machine
			t.Errorf("the events took %v", took)
		}
	}
	never := NewFeed(FeedConfig{Pool: s.pool})
	sub = follow(t, never, fromFirst, nil, nil)
	sub.wants(s.saved)
	s.save(10)
	sub.wants(s.saved)
}

func TestAHintSparesThePollWhereThereIsNoStream(t *testing.T) {
	s := newStore(t)
	f := NewFeed(FeedConfig{Pool: s.pool, PollInterval: time.Hour})
	f.Hint("no subscriber here")
	s.save(1)
	sub := follow(t, f, fromFirst, nil, nil)
	sub.wants(s.saved)
	s.save(1)
	// A hint that comes before the subscriber waits finds no waiter; the one after the next commit is enough in real
	// life, too.
	hinting, end := context.WithCancel(t.Context())
	var hints sync.WaitGroup
	hints.Go(func() {
		for hinting.Err() == nil {
			f.Hint(feedBoundary)
		}
	})
	sub.wants(s.saved)
	end()
	hints.Wait()
}

func TestAnEventThatPostgresDoesNotHaveIsNotBelieved(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{})
	foreign := func(at int64) *orisunpb.Event {
		return &orisunpb.Event{
			EventId: "x", EventType: "X", Data: `{"n": 1}`, Metadata: "{}",
			Position: &orisunpb.Position{TransactionId: at + 1, GlobalId: at},
		}
	}
	resuming := follow(t, f, &orisunpb.Position{TransactionId: 100, GlobalId: 99}, nil, nil)
	sub := follow(t, f, fromFirst, nil, nil)
	for range 3 {
		s.saveAndPublish(10)
		sub.wants(s.saved)
		s.awaitRing(f)
		s.send(Encode(feedBoundary, feedSource, foreign(100), 99))
		next := int64(len(s.saved))
		s.send(Encode(feedBoundary, feedSource, foreign(next), next-1)) // it follows the ring's end
	}
	s.save(10)
	sub.wants(s.saved)
	resuming.wants(nil)
}

func TestAMessageOfAnotherStoreIsLeftOutAndDisturbsNothing(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{PollInterval: time.Hour})
	sub := follow(t, f, fromFirst, nil, nil)
	for range 3 {
		s.saveAndPublish(10)
		sub.wants(s.saved)
		s.awaitRing(f)
		// At the next position, which PostgreSQL has by the time that the message comes, and before the message of the
		// event that stands there.
		s.save(1)
		last := len(s.saved) - 1
		foreign := proto.CloneOf(s.saved[last])
		foreign.EventId, foreign.Data = "x", `{"n": -1}`
		s.send(Encode(feedBoundary, Source("another", feedBoundary), foreign, int64(last-1)))
		s.publish(last, last+1)
		sub.wants(s.saved)
		s.awaitRing(f)
	}
}

func TestASlowSubscriberGetsEverythingAndDelaysNoOther(t *testing.T) {
	s := newStore(t)
	f := s.feed(FeedConfig{RingEvents: 16, PageEvents: 8})
	hold := make(chan struct{})
	slow, fast := follow(t, f, fromFirst, nil, hold), follow(t, f, fromFirst, nil, nil)
	for range 20 {
		s.saveAndPublish(50)
		fast.wants(s.saved)
	}
	close(hold)
	slow.wants(s.saved)
}

func TestABoundaryHasOneSubscriptionToNATSWhileItHasSubscribers(t *testing.T) {
	s := newStore(t)
	ignored := goleak.IgnoreCurrent()
	f := s.feed(FeedConfig{})
	s.saveAndPublish(1)
	unused := s.js.Conn().NumSubscriptions()
	subscriptions := func() int { return s.js.Conn().NumSubscriptions() - unused }
	for range 3 {
		var subscribers []*following
		for range 50 {
			subscribers = append(subscribers, follow(t, f, fromFirst, nil, nil))
		}
		s.saveAndPublish(2)
		for _, sub := range subscribers {
			sub.wants(s.saved)
		}
		if n := subscriptions(); n != 1 {
			t.Errorf("50 subscribers have %d subscriptions", n)
		}
		for _, sub := range subscribers {
			sub.stop()
		}
		if n := subscriptions(); n != 0 {
			t.Errorf("no subscriber has %d subscriptions", n)
		}
	}
	// pgx leaves one with an idle connection of the pool, until that is used again.
	goleak.VerifyNone(t, ignored,
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn/internal/bgreader.(*BGReader).bgRead"))
}

func TestFollowEndsWithWhyItEnds(t *testing.T) {
	s := newStore(t)
	s.saveAndPublish(3)
	f := s.feed(FeedConfig{})
	enough := errors.New("enough")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if err := f.Follow(ctx, feedBoundary, fromFirst, nil, nil, nil); !errors.Is(err, enough) {
		t.Errorf("a cancelled context: %v", err)
	}
	err := f.Follow(t.Context(), feedBoundary, fromFirst, nil, func(*orisunpb.Event) error { return enough }, nil)
	if !errors.Is(err, enough) {
		t.Errorf("deliver's error: %v", err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	err = f.Follow(ctx, feedBoundary, fromFirst, nil, func(e *orisunpb.Event) error {
		if e.GetEventId() == "1" {
			cancel(enough)
		}
		if e.GetEventId() == "2" {
			t.Error("an event was delivered after the end")
		}
		return nil
	}, nil)
	if !errors.Is(err, enough) {
		t.Errorf("a context that ends under way: %v", err)
	}
	err = f.Follow(t.Context(), "unknown", fromFirst, nil, nil, nil)
	if state := sqlState(err); state != "OR001" {
		t.Errorf("an unknown boundary: %v", err)
	}
}

func TestSubscribersOfALogThatIsGoneAreEnded(t *testing.T) {
	s := newStore(t)
	pgtest.Boundary(t, s.pool, "admin")
	ended := func(do string) error {
		t.Helper()
		s.saved = storedEvents(t, s.pool, feedBoundary)
		s.saveAndPublish(3)
		got := make(chan struct{}, 3)
		end := make(chan error, 1)
		f := s.feed(FeedConfig{})
		go func() {
			end <- f.Follow(t.Context(), feedBoundary, fromFirst, nil, func(*orisunpb.Event) error {
				got <- struct{}{}
				return nil
			}, nil)
		}()
		for range 3 {
			<-got
		}
		s.awaitRing(f)
		if _, err := s.pool.Exec(t.Context(), do); err != nil {
			t.Fatal(err)
		}
		return <-end
	}
	const drop = `SELECT orisun.delete_boundary('bank', 'admin', 'alice')`
	const recreate = drop + `; SELECT orisun.initialize_boundary_tables('bank', 'public')`
	if err := ended(recreate); status.Code(err) != codes.Aborted {
		t.Errorf("deleted and created again: %v", err)
	}
	if err := ended(drop); sqlState(err) != "OR001" {
		t.Errorf("deleted: %v", err)
	}
}

// TestABoundaryThatIsBeingDeletedIsUnknownToItsSubscribers deletes the boundary while the subscribers' look at its end
// has found it and waits for its table.
func TestABoundaryThatIsBeingDeletedIsUnknownToItsSubscribers(t *testing.T) {
	s := newStore(t)
	pgtest.Boundary(t, s.pool, "admin")
	s.saveAndPublish(1)
	delivered, end := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		end <- s.feed(FeedConfig{}).Follow(t.Context(), feedBoundary, fromFirst, nil, func(*orisunpb.Event) error {
			delivered <- struct{}{}
			return nil
		}, nil)
	}()
	<-delivered
	deletion, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deletion.Exec(t.Context(), `SELECT orisun.delete_boundary('bank', 'admin', 'alice')`); err != nil {
		t.Fatal(err)
	}
	for waits := 0; waits == 0; {
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := deletion.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; sqlState(err) != "OR001" {
		t.Errorf("the subscriber ends with %v", err)
	}
}
