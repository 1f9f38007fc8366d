package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
)

// acknowledged is what clients were told: event ids and their positions.
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

// TestKillingTheServerUnderWritersLosesAndMovesNothing kills the binary, and with it its PostgreSQL, three times under 16 writers.
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
	compare(t, connect(t, server.address), acks)
}

// compare reads everything: each acknowledged event is there once, where it was said to be, and no position is missing or double.
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
