package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

func contextOn(tags ...string) []*orisunpb.Criterion {
	criterion := &orisunpb.Criterion{}
	for i := 0; i < len(tags); i += 2 {
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: tags[i], Value: tags[i+1]})
	}
	return []*orisunpb.Criterion{criterion}
}

func TestConflictsAreCountedByContextAndMinute(t *testing.T) {
	now := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	counter := NewConflicts(func() time.Time { return now })
	list := func(boundary string) *orisunpb.ListConflictsResponse {
		answer := &orisunpb.ListConflictsResponse{}
		counter.list(boundary, 20, answer)
		return answer
	}
	counter.note("orders", contextOn("seat", "1", "event_type", "SeatTaken"))
	counter.note("orders", contextOn("event_type", "SeatTaken", "seat", "1")) // the same context
	counter.note("orders", contextOn("seat", "2"))
	counter.note("others", contextOn("seat", "1"))
	now = now.Add(10 * time.Minute)
	counter.note("orders", contextOn("seat", "2"))
	counter.note("orders", contextOn("seat", "2"))
	counter.note("orders", contextOn("huge", strings.Repeat("x", maxConflictBytes+1)))

	answer := list("orders")
	if got := answer.GetContexts(); len(got) != 2 || got[0].GetCount() != 3 ||
		got[0].GetCriteria()[0].GetTags()[0].GetValue() != "2" || got[1].GetCount() != 2 {
		t.Errorf("contexts %v", got)
	}
	if minutes := answer.GetContexts()[0].GetMinutes(); len(minutes) != 60 || minutes[59] != 2 || minutes[49] != 1 ||
		answer.GetMinutes()[59] != 3 {
		t.Errorf("minutes %v of %v", minutes, answer.GetMinutes())
	}
	if answer.GetTotal() != 6 || answer.GetSince().AsTime() != now.Add(-10*time.Minute) {
		t.Errorf("%d conflicts since %s", answer.GetTotal(), answer.GetSince().AsTime())
	}

	now = now.Add(50 * time.Minute) // the first ones are an hour ago
	if answer := list("orders"); answer.GetTotal() != 3 || len(answer.GetContexts()) != 1 ||
		answer.GetContexts()[0].GetCount() != 2 {
		t.Errorf("an hour later: %v", answer)
	}
	now = now.Add(48 * time.Hour)
	if answer := list("orders"); answer.GetTotal() != 0 || len(answer.GetContexts()) != 0 ||
		slices.Max(answer.GetMinutes()) != 0 {
		t.Errorf("two days later: %v", answer)
	}
	counter.note("orders", contextOn("seat", "1"))
	counter.Forget("orders")
	if answer := list("orders"); answer.GetTotal() != 0 || len(answer.GetContexts()) != 0 {
		t.Errorf("of a deleted boundary: %v", answer)
	}
}

func TestAContestedContextStaysCountedAmongManyOthers(t *testing.T) {
	counter := NewConflicts(time.Now)
	for i := range 10 * maxConflictContexts {
		counter.note("orders", contextOn("user", fmt.Sprint(i)))
		if i%100 == 0 {
			counter.note("orders", contextOn("seat", "1"))
		}
	}
	answer := &orisunpb.ListConflictsResponse{}
	counter.list("orders", 20, answer)
	if len(answer.GetContexts()) != 20 || answer.GetContexts()[0].GetCount() != 100 || answer.GetTotal() != 10100 {
		t.Errorf("%d conflicts, the first of %d contexts has %d", answer.GetTotal(), len(answer.GetContexts()),
			answer.GetContexts()[0].GetCount())
	}
	if counter.contexts.Len() != maxConflictContexts {
		t.Errorf("%d contexts are counted, at most %d may be", counter.contexts.Len(), maxConflictContexts)
	}
}
