package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestExplainNamesTheIndexOfEachCriterion(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	if _, err := store.CreateIndex(t.Context(), textIndex("save", "save")); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{
				event(fmt.Sprint(i), fmt.Sprintf(`{"save": "s", "id": "%d"}`, i)),
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	criteria := append(append(tagged("id", "3"), tagged("save", "s")...), tagged("id", "5")...)
	got, err := store.Explain(t.Context(), &orisunpb.ExplainRequest{
		GetEvents: &orisunpb.GetEventsRequest{Boundary: boundary, Query: &orisunpb.Query{Criteria: criteria}, Count: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, scan := range got.GetScans() {
		text = append(text, fmt.Sprintf("%v %s %v %d",
			scan.GetCriteria(), scan.GetIndex(), scan.GetServed(), scan.GetEvents()))
	}
	if want := []string{"[2] bank_save_idx true 4", "[1 3] bank_orisun_es_event_pkey false 2"}; !slices.Equal(text, want) {
		t.Errorf("scans: %q, want %q", text, want)
	}
	if got.GetEvents() != 4 || got.GetBuffers() == 0 || got.GetExecutionMs() == 0 ||
		!strings.Contains(got.GetPlan(), "Merge Append") {
		t.Errorf("got %v", got)
	}
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{})
	wantViolation(t, err, codes.InvalidArgument, "get_events")
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{
		GetEvents: &orisunpb.GetEventsRequest{Boundary: boundary, Count: 10_001},
	})
	wantViolation(t, err, codes.InvalidArgument, "get_events.count")
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{
		GetEvents: &orisunpb.GetEventsRequest{Boundary: "nowhere"},
	})
	wantViolation(t, err, codes.NotFound, "")
}
