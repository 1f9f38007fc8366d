package service_test

import (
	"fmt"
	"sync"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestPagesReadBesideSavesAreThoseOfOneStatement: they are read in two parts then, in either direction.
func TestPagesReadBesideSavesAreThoseOfOneStatement(t *testing.T) {
	store, pool := dial(t)
	save := func(ids ...string) {
		request := &orisunpb.SaveEventsRequest{Boundary: boundary}
		for _, id := range ids {
			request.Events = append(request.Events, event(id, `{"kind": "a"}`))
		}
		if _, err := store.SaveEvents(t.Context(), request); err != nil {
			t.Error(err)
		}
	}
	var first []string
	for i := range 700 {
		first = append(first, fmt.Sprint("first-", i))
	}
	save(first...)

	end := make(chan struct{})
	var saving sync.WaitGroup
	saving.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
				save(fmt.Sprint("later-", i))
			}
		}
	})
	defer saving.Wait()
	defer close(end)
	criteria := &orisunpb.Query{Criteria: tagged("kind", "a")}
	questions := []*orisunpb.GetEventsRequest{
		{Count: 99},
		{Count: 100},
		{Count: 101},
		{Count: 700},
		{Count: 600, Direction: orisunpb.Direction_DESC, FromPosition: at(700, 650)},
		{Count: 10_000, Direction: orisunpb.Direction_DESC, FromPosition: at(700, 650)}, // fewer than asked for
		{Count: 600, AfterPosition: at(700, 49), Query: criteria},
		{Count: 300, Direction: orisunpb.Direction_DESC, AfterPosition: at(700, 650), Query: criteria},
	}
	const beside = 10
	for total := 0; total < len(first)+beside; total = count(t, pool) { // until as many saves came between
		for _, question := range questions {
			question.Boundary = boundary
			page, err := store.GetEvents(t.Context(), question)
			if err != nil {
				t.Fatal(question, err)
			}
			from, step, want := 0, 1, int(question.GetCount())
			switch {
			case question.GetDirection() == orisunpb.Direction_ASC && question.GetAfterPosition() != nil:
				from = 50
			case question.GetDirection() == orisunpb.Direction_DESC && question.GetAfterPosition() != nil:
				from, step = 649, -1
			case question.GetDirection() == orisunpb.Direction_DESC:
				from, step, want = 650, -1, min(want, 651)
			}
			if len(page.GetEvents()) != want {
				t.Fatalf("%v: %d events, want %d", question, len(page.GetEvents()), want)
			}
			for i, got := range page.GetEvents() {
				if position := int64(from + step*i); got.GetPosition().GetGlobalId() != position || got.GetEventId() != fmt.Sprint("first-", position) {
					t.Fatalf("%v: event %d of the page is %v, want first-%d", question, i, got, position)
				}
			}
		}
	}
}
