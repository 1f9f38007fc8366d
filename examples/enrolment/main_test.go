package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/oexza/orisun/client/clienttest"
)

// Ten students want three places at once, and one of them many courses.
func TestBothRulesHoldWhateverHappensAtOnce(t *testing.T) {
	c := clienttest.New(t, "school")
	for i := range 5 {
		if err := offer(t.Context(), c, "school", fmt.Sprint("course", i), 3); err != nil {
			t.Fatal(err)
		}
	}
	if err := offer(t.Context(), c, "school", "course0", 30); !errors.Is(err, errOffered) {
		t.Error(err)
	}
	var mu sync.Mutex
	refused := map[error]int{}
	try := func(course, student string) {
		if err := enrol(t.Context(), c, "school", course, student); err != nil {
			mu.Lock()
			defer mu.Unlock()
			refused[err]++
		}
	}
	var running sync.WaitGroup
	for i := range 10 {
		running.Go(func() { try("course0", fmt.Sprint("student", i)) })
	}
	for i := range 4 {
		running.Go(func() { try(fmt.Sprint("course", i+1), "eager") })
	}
	running.Wait()
	if refused[errFull] != 7 || refused[errLimit] != 1 || len(refused) != 2 {
		t.Error(refused)
	}
	if err := enrol(t.Context(), c, "school", "nowhere", "ann"); !errors.Is(err, errNone) {
		t.Error(err)
	}
}
