// Package eventtest saves, reads and follows events in tests of the server and of its commands, by gRPC alone.
package eventtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	orisunpb "github.com/oexza/orisun/proto"
)

// Boundary is the boundary that all functions of this package use.
const Boundary = "orisun_test_1"

// Stored returns all matching events of the boundary, read in pages by GetEvents.
func Stored(t testing.TB, client orisunpb.EventStoreClient, query *orisunpb.Query) (all []*orisunpb.Event) {
	t.Helper()
	after := Beginning
	for {
		page, err := client.GetEvents(context.Background(), &orisunpb.GetEventsRequest{
			Boundary: Boundary, Query: query, AfterPosition: after, Count: 5000,
		})
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

// Beginning is the position before the first event.
var Beginning = &orisunpb.Position{TransactionId: -1, GlobalId: -1}

// Save stores one save of events, whose data holds the writer, a number and its parity.
func Save(t testing.TB, client orisunpb.EventStoreClient, writer string, from, count int) {
	t.Helper()
	request := &orisunpb.SaveEventsRequest{Boundary: Boundary}
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

// Where is a query of one criterion with these keys and values.
func Where(pairs ...string) *orisunpb.Query {
	criterion := &orisunpb.Criterion{}
	for i := 0; i < len(pairs); i += 2 {
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: pairs[i], Value: pairs[i+1]})
	}
	return &orisunpb.Query{Criteria: []*orisunpb.Criterion{criterion}}
}

// Subscription reads a stream and records what it received.
type Subscription struct {
	t    testing.TB
	end  context.CancelFunc
	Done chan struct{}
	Err  error // once done

	mu      sync.Mutex
	events  []*orisunpb.Event
	changed chan struct{}
}

// Subscribe returns when the server has reported where the stream begins.
func Subscribe(
	t testing.TB, client orisunpb.EventStoreClient, request *orisunpb.CatchUpSubscribeToEventStoreRequest,
) *Subscription {
	t.Helper()
	if request.GetBoundary() == "" {
		request.Boundary = Boundary
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
	s := &Subscription{t: t, end: end, Done: make(chan struct{}), changed: make(chan struct{})}
	go s.receive(stream)
	t.Cleanup(s.Stop)
	return s
}

func (s *Subscription) receive(stream grpc.ServerStreamingClient[orisunpb.Event]) {
	defer close(s.Done)
	for {
		event, err := stream.Recv()
		if err != nil {
			s.Err = err
			return
		}
		s.mu.Lock()
		s.events = append(s.events, event)
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// Stop cancels the stream and waits for its end.
func (s *Subscription) Stop() {
	s.end()
	<-s.Done
}

// Received is what was received so far. changed is closed when more is received.
func (s *Subscription) Received() (events []*orisunpb.Event, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.events), s.changed
}

// Reaches waits for the event with this id, and returns all events received.
func (s *Subscription) Reaches(id string) []*orisunpb.Event {
	s.t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		events, changed := s.Received()
		if len(events) > 0 && events[len(events)-1].GetEventId() == id {
			return events
		}
		select {
		case <-changed:
		case <-s.Done:
			s.t.Fatalf("the subscription ended after %d events: %v", len(events), s.Err)
		case <-timeout.C:
			s.t.Fatalf("after %d events, %s never came", len(events), id)
		}
	}
}

// Wants waits until exactly these events were received.
func (s *Subscription) Wants(want []*orisunpb.Event) {
	s.t.Helper()
	if len(want) == 0 {
		s.t.Fatal("no event is expected: this would show nothing")
	}
	Same(s.t, s.Reaches(want[len(want)-1].GetEventId()), want)
}

// Same fails the test unless the events are the same ones in the same order.
func Same(t testing.TB, got, want []*orisunpb.Event) {
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

// Open subscribes to all events of the boundary, for a test that reads the stream itself.
func Open(t *testing.T, client orisunpb.EventStoreClient) grpc.ServerStreamingClient[orisunpb.Event] {
	t.Helper()
	stream, err := client.CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: Boundary, AfterPosition: Beginning,
	})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// Expect reads the next event, whose id and position are the number, and reports whether it was received.
func Expect(t *testing.T, stream grpc.ServerStreamingClient[orisunpb.Event], globalID int) bool {
	t.Helper()
	event, err := stream.Recv()
	if err != nil || event.GetPosition().GetGlobalId() != int64(globalID) || event.GetEventId() != fmt.Sprint(globalID) {
		t.Errorf("event %d: %v, %v", globalID, event, err)
		return false
	}
	return true
}
