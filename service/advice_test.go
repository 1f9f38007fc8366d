package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestAdviceNamesTheCriteriaThatNoIndexServes(t *testing.T) {
	pool := bank(t)
	log := &lockedBuffer{}
	store := node(t, pool, nil, log)
	read := func(pairs ...string) {
		t.Helper()
		if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
			Boundary: boundary, Query: &orisunpb.Query{Criteria: tagged(pairs...)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	advice := func() (text []string) {
		t.Helper()
		list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list.GetAdvice() {
			if time.Since(a.GetSince().AsTime()) > time.Minute || a.GetCreate().GetBoundary() != boundary {
				t.Errorf("advice: %v", a)
			}
			text = append(text, fmt.Sprintf("%d× %s: %s", a.GetCount(), strings.Join(a.GetKeys(), "+"), a.GetCreate().GetName()))
		}
		return text
	}
	read("user id", "1")
	read() // matches every event: nothing to index
	for i := range 3 {
		read("b", fmt.Sprint(i), "eventType", "T")
		read("event_type", "T", "b", fmt.Sprint(i), "b", "twice")
	}
	if _, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
		Boundary: boundary, Criteria: tagged("user id", "2"),
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := advice(), []string{"6× b+event_type: b_event_type", "2× user id: user_id"}; !slices.Equal(got, want) {
		t.Errorf("advice: %q, want %q", got, want)
	}
	if n := log.lines("no index serves"); n != 0 {
		t.Errorf("the log warns %d times of criteria that were queried less than ten times", n)
	}
	for range 20 {
		read("user id", "1")
	}
	if n := log.lines("no index serves"); n != 1 {
		t.Errorf("the log warns %d times of criteria that were queried 22 times, want once", n)
	}
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.GetAdvice() {
		if _, err := store.CreateIndex(t.Context(), a.GetCreate()); err != nil {
			t.Fatal(err)
		}
	}
	read("user id", "3")
	read("b", "9", "event_type", "T")
	if got := advice(); len(got) != 0 {
		t.Errorf("advice that was followed: %q", got)
	}
	if _, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{
		Boundary: boundary, Name: "user_id",
	}); err != nil {
		t.Fatal(err)
	}
	read("user id", "4")
	if got, want := advice(), []string{"1× user id: user_id"}; !slices.Equal(got, want) {
		t.Errorf("advice after the index is gone: %q, want %q", got, want)
	}
}
