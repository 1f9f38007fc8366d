package service_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// The save that was refused first is stored by the next flush, though it comes last: so every client that retries
// succeeds in the end.
func TestARefusedSaveHasPriorityWhenItIsRetried(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, boundary)
	store := service.NewEventStore(service.Config{
		Write: pool, Read: pool, MaxPageBytes: maxPageBytes, MaxMessageBytes: maxEventBytes,
		MessageSize: func(_, _, _ string, data, metadata int) int { return data + metadata },
	})
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	save := func(id string, expected *orisunpb.Position) error {
		query := &orisunpb.SaveQuery{
			ExpectedPosition: expected, SubsetQuery: &orisunpb.Query{Criteria: tagged("account", "hot")},
		}
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Query: query, Events: []*orisunpb.EventToSave{event(id, `{"account": "hot"}`)},
		})
		return err
	}
	last := at(1, 0)
	if err := save("zero", at(-1, -1)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"first refused", "second refused"} {
		if err := save(id, at(-1, -1)); status.Code(err) != codes.AlreadyExists {
			t.Fatal(err)
		}
	}

	for _, c := range []struct {
		come   []string
		winner string
	}{
		{[]string{"newcomer", "another newcomer", "second refused", "first refused"}, "first refused"},
		{[]string{"third newcomer", "another newcomer", "newcomer", "second refused"}, "second refused"},
		{[]string{"third newcomer", "another newcomer", "newcomer"}, "newcomer"},
		{[]string{"fourth newcomer", "fifth newcomer"}, "fourth newcomer"}, // no save lost before
	} {
		release := holdLock(t, pool)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: boundary, Events: []*orisunpb.EventToSave{event("before "+c.winner, `{}`)},
			}); err != nil {
				t.Error(err)
			}
		})
		waitUntilASaveWaits(t, pool)
		errs := make([]error, len(c.come))
		for i, id := range c.come {
			waiting.Go(func() { errs[i] = save(id, last) })
			for service.QueuedSaves(store, boundary) <= i {
			}
		}
		release()
		waiting.Wait()
		for i, err := range errs {
			if want := c.come[i] == c.winner; want != (err == nil) || !want && status.Code(err) != codes.AlreadyExists {
				t.Errorf("of %q: %q got %v; %q should win", c.come, c.come[i], err, c.winner)
			}
		}
		latest, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
			Boundary: boundary, Criteria: tagged("account", "hot"),
		})
		if err != nil {
			t.Fatal(err)
		}
		last = latest.GetContextPosition()
		if got := latest.GetResults()[0].GetEvent().GetEventId(); !slices.Contains(c.come, got) {
			t.Errorf("%q is stored", got)
		}
	}
}
