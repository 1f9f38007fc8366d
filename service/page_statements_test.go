package service

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oexza/orisun/db"
)

// TestAStatementIsComposedOnceForAShapeThatComesAgain, and again when it may be out of date; one that depends on values is not composed for each question.
func TestAStatementIsComposedOnceForAShapeThatComesAgain(t *testing.T) {
	for answer, want := range map[string]string{"SELECT": "-- name: GetEvents :many\nSELECT", "": ""} {
		synctest.Test(t, func(t *testing.T) {
			p, composed := newPageStatements(), 0
			ask := func() string {
				found, err := p.find("shape", func() (string, error) { composed++; return answer, nil })
				if err != nil {
					t.Fatal(err)
				}
				return found.text
			}
			for range 2 {
				if before := composed; ask() != "" || composed != before {
					t.Error("composed for a question that may have come alone")
				}
				before := composed
				for range 3 {
					if got := ask(); got != want || composed != before+1 {
						t.Errorf("got %q, composed %d times, want %q and once", got, composed-before, want)
					}
				}
				time.Sleep(pageStatementLasts)
			}
		})
	}
}

// TestNoStatementIsKeptOfWhatFailsOrIsLong: what is remembered is bounded, and a failure is the caller's alone.
func TestNoStatementIsKeptOfWhatFailsOrIsLong(t *testing.T) {
	p, failure := newPageStatements(), errors.New("no such boundary")
	for i := range 4 {
		_, err := p.find("shape", func() (string, error) { return "", failure })
		if want := i > 0; errors.Is(err, failure) != want {
			t.Errorf("question %d: got %v", i, err)
		}
	}
	long := shapeOf(db.GetEventsParams{TagCriteria: []int32{1}, TagKeys: []string{strings.Repeat("k", maxShapeBytes)}})
	for range 3 {
		if found, err := p.find(long, func() (string, error) { return "SELECT", nil }); found.text != "" || err != nil || p.kept.Contains(long) {
			t.Errorf("got %q (%v) for a shape of %d bytes", found.text, err, len(long))
		}
	}
}

// TestQuestionsOfDifferentShapesAreToldApart, also where the texts of their keys together are the same.
func TestQuestionsOfDifferentShapesAreToldApart(t *testing.T) {
	position := int64(7)
	seen := map[string]int{}
	for i, params := range []db.GetEventsParams{
		{Boundary: "a"},
		{Boundary: "b"},
		{Boundary: "a", Descending: true},
		{Boundary: "a", TransactionID: &position, GlobalID: &position},
		{Boundary: "a", TagCriteria: []int32{1, 1}, TagKeys: []string{"ab", "c"}},
		{Boundary: "a", TagCriteria: []int32{1, 1}, TagKeys: []string{"a", "bc"}},
		{Boundary: "a", TagCriteria: []int32{1, 2}, TagKeys: []string{"a", "bc"}},
		{Boundary: "a", TagCriteria: []int32{1}, TagKeys: []string{"a1:2:bc"}},
	} {
		shape := shapeOf(params)
		if j, known := seen[shape]; known {
			t.Errorf("questions %d and %d have the shape %q", j, i, shape)
		}
		seen[shape] = i
	}
}
