package service_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestReadsThatComeTogetherGetTheirOwnAnswers(t *testing.T) {
	store, _ := dial(t)
	if _, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: boundary, Name: "by_id", Fields: []*orisunpb.IndexField{{JsonKey: "id"}},
	}); err != nil {
		t.Fatal(err)
	}
	seed(t, store)
	// A page of these is larger than what a group takes.
	large := fmt.Sprintf(`{"id": "large", "filler": %q}`, strings.Repeat("x", 600_000))
	for _, id := range []string{"g", "h"} {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{event(id, large)},
		}); err != nil {
			t.Fatal(err)
		}
	}

	page := func(want string, in *orisunpb.GetEventsRequest) func() string {
		in.Boundary = boundary
		return func() string {
			answer, err := store.GetEvents(t.Context(), in)
			if err != nil || ids(answer) != want {
				return fmt.Sprintf("page %v: %q, %v, want %q", in, ids(answer), err, want)
			}
			return ""
		}
	}
	latest := func(keys ...string) func() string {
		return func() string {
			in := &orisunpb.GetLatestByCriteriaRequest{Boundary: boundary}
			for _, key := range keys {
				in.Criteria = append(in.Criteria, tagged("id", key)...)
			}
			answer, err := store.GetLatestByCriteria(t.Context(), in)
			if err != nil || len(answer.GetResults()) != len(keys) {
				return fmt.Sprintf("latest of %v: %v, %v", keys, answer, err)
			}
			for i, result := range answer.GetResults() {
				if want := strings.Trim(keys[i], "?"); result.GetEvent().GetEventId() != want {
					return fmt.Sprintf("latest of %v: result %d is %q, want %q", keys, i, result.GetEvent().GetEventId(), want)
				}
			}
			return ""
		}
	}
	const desc = orisunpb.Direction_DESC
	reads := []func() string{
		page("a", &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("id", "a")}}),
		page("c b", &orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: append(tagged("id", "b"), tagged("id", "c")...)}, Direction: desc, Count: 5,
		}),
		page("g", &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("id", "large")}, Count: 1}),
		page("h", &orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: tagged("id", "large")}, Direction: desc, Count: 1,
		}),
		page("b", &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("id", "b")}, Direction: desc, Count: 1}),
		page("d e", &orisunpb.GetEventsRequest{AfterPosition: at(3, 2), Count: 2}),
		page("", &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("id", "?")}, Count: 1}),
		page("g h", &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("id", "large")}, Count: 10}),
		latest("f"), latest("e", "?", "a"), latest("?"), latest("b", "c"),
	}
	var running sync.WaitGroup
	for i := range 32 {
		running.Go(func() {
			for j := range 4 * len(reads) {
				if problem := reads[(i+j)%len(reads)](); problem != "" {
					t.Error(problem)
					return
				}
			}
		})
	}
	running.Wait()
}
