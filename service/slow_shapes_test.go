package service

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestACriterionOfOneShapeTooManyCountsAsSlow(t *testing.T) {
	read := 0
	advice := newAdviser(func(context.Context, string, []string) (bool, error) {
		read++
		return true, nil // an index serves all of them
	}, slog.New(slog.DiscardHandler), time.Now)
	course := func(i int) []*orisunpb.Criterion {
		return []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: fmt.Sprintf("course:%d", i), Value: "true"}}}}
	}
	for i := range maxShapes {
		if advice.isSlow(t.Context(), "b", course(i)) {
			t.Fatalf("shape %d counts as slow, though an index serves it", i)
		}
	}
	if !advice.isSlow(t.Context(), "b", course(maxShapes)) {
		t.Error("a shape that is not counted any more does not count as slow")
	}
	if advice.isSlow(t.Context(), "b", []*orisunpb.Criterion{{}}) || read != maxShapes {
		t.Errorf("a criterion without tags counts as slow, or PostgreSQL was asked %d times", read)
	}
}

func TestAFlushIsBoundedByItsCriteriaToo(t *testing.T) {
	save := &orisunpb.SaveEventsRequest{Events: make([]*orisunpb.EventToSave, 10), Query: &orisunpb.SaveQuery{
		SubsetQuery: &orisunpb.Query{Criteria: make([]*orisunpb.Criterion, 20)},
	}}
	if items, _ := flushOptions.Size(checkedSave{request: save}); items != 30 {
		t.Errorf("a save of 10 events under 20 criteria counts as %d items, want 30", items)
	}
}
