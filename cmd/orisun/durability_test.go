package main

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// acknowledged is what clients received: event ids and their positions.
type acknowledged struct {
	mu        sync.Mutex
	positions map[string]int64
}

func (a *acknowledged) note(id string, globalID int64) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.positions[id] = globalID
	return len(a.positions)
}

// TestKillingTheServerUnderWritersLosesAndMovesNothing kills the binary, and with it its PostgreSQL, three times under
// 16 writers.
func TestKillingTheServerUnderWritersLosesAndMovesNothing(t *testing.T) {
	data := t.TempDir()
	acks := &acknowledged{positions: map[string]int64{}}
	for round := range 3 {
		server := launch(t, environment(data))
		store := connect(t, server.address)
		compare(t, store, acks)

		enough := make(chan struct{})
		var once sync.Once
		goal := len(acks.positions) + 300
		writing, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 16 {
			writers.Go(func() {
				for i := 0; writing.Err() == nil; i++ {
					id := fmt.Sprintf("r%d-w%d-%d", round, w, i)
					answer, err := store.SaveEvents(writing, &orisunpb.SaveEventsRequest{
						Boundary: "orisun_test_1",
						Query:    &orisunpb.SaveQuery{Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "id", Value: id}}}}},
						Events:   []*orisunpb.EventToSave{{EventId: id, EventType: "Written", Data: fmt.Sprintf(`{"id": %q}`, id)}},
					})
					if err != nil {
						return // the server is gone
					}
					if acks.note(id, answer.GetLogPosition().GetGlobalId()) >= goal {
						once.Do(func() { close(enough) })
					}
				}
			})
		}
		<-enough
		server.stop(t, syscall.SIGKILL)
		stop()
		writers.Wait()
	}
	server := launch(t, environment(data))
	store := connect(t, server.address)
	compare(t, store, acks)
	compareStream(t, store, server, 0)
}

// whereItBegins is the event with which a stream begins, whichever that is: one that was recreated holds none of those
// before.
const whereItBegins = -1

// compareStream reads the boundary's stream as any NATS client does: it is what GetEvents answers, message for message,
// from an event on.
func compareStream(t *testing.T, store orisunpb.EventStoreClient, server *process, first int64) {
	t.Helper()
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_test_1", Count: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`"msg":"NATS: start","address":"([^"]+)"`).FindStringSubmatch(server.logged())
	if address == nil {
		t.Fatalf("the log does not say where NATS listens:\n%s", server.logged())
	}
	streams := dialStreamsAt(t, address[1])
	consumer, err := streams.OrderedConsumer(t.Context(), publisher.StreamName("orisun_test_1"),
		jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	if first == whereItBegins {
		stream, err := streams.Stream(t.Context(), publisher.StreamName("orisun_test_1"))
		if err != nil {
			t.Fatal(err)
		}
		if first = int64(stream.CachedInfo().State.FirstSeq) - 1; first >= int64(len(page.GetEvents())) {
			t.Fatalf("the stream begins with event %d, the log has %d", first, len(page.GetEvents()))
		}
	}
	previous := first - 1 // of the first of all, publisher.NoPrevious
	for _, want := range page.GetEvents()[first:] {
		message, err := messages.Next(jetstream.NextContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		got, before, err := publisher.Decode(message.Headers(), message.Data())
		if err != nil {
			t.Fatal(err)
		}
		if before != previous || !proto.Equal(got, want) {
			t.Fatalf("the stream has %v after %d, the log %v after %d", got, before, want, previous)
		}
		previous = want.GetPosition().GetGlobalId()
	}
	info, err := consumer.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending != 0 {
		t.Errorf("the stream has %d messages more than the log has events", info.NumPending)
	}
}

// compare reads everything: each acknowledged event is there once, where it was said to be, and no position is missing
// or double.
func compare(t *testing.T, store orisunpb.EventStoreClient, acks *acknowledged) {
	t.Helper()
	stored := map[string]int64{}
	after := &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	for {
		page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_test_1", AfterPosition: after})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.GetEvents()) == 0 {
			break
		}
		for _, e := range page.GetEvents() {
			if _, twice := stored[e.GetEventId()]; twice || e.GetPosition().GetGlobalId() != int64(len(stored)) {
				t.Fatalf("event %s at %v: doubled, or not at position %d", e.GetEventId(), e.GetPosition(), len(stored))
			}
			stored[e.GetEventId()] = e.GetPosition().GetGlobalId()
			after = e.GetPosition()
		}
	}
	for id, globalID := range acks.positions {
		if got, found := stored[id]; !found || got != globalID {
			t.Errorf("event %s was acknowledged at %d: found %v at %d", id, globalID, found, got)
		}
	}
}
