package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// stuck begins flushes that end when release is closed, one in each boundary.
func stuck(t *testing.T, lanes *writeLanes, boundaries int, release <-chan struct{}) (answers chan error) {
	t.Helper()
	answers = make(chan error, boundaries)
	for i := range boundaries {
		go func() {
			answers <- lanes.run(t.Context(), fmt.Sprint("slow", i), true, func(ctx context.Context) error {
				select {
				case <-release:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
	}
	synctest.Wait()
	return answers
}

func TestSlowFlushesUseHalfOfTheWritePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lanes := newWriteLanes(10)
		release := make(chan struct{})
		answers := stuck(t, lanes, 11, release)
		for i := range 20 {
			begun := time.Now()
			if err := lanes.run(t.Context(), "quick", true, func(context.Context) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(begun); waited > slowFlush || i > 0 && waited > 0 {
				t.Errorf("flush %d of the quick boundary waits %s", i, waited)
			}
		}
		if n := len(lanes.slow); n != 5 {
			t.Errorf("%d slow flushes run", n)
		}
		close(release)
		for range 11 {
			if err := <-answers; err != nil {
				t.Errorf("a slow flush: %v", err)
			}
		}
		if len(lanes.slow)+len(lanes.all) != 0 {
			t.Errorf("%d and %d flushes count as running", len(lanes.slow), len(lanes.all))
		}
	})
}

func TestABoundaryIsQuickAgainAfterAQuickFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lanes := newWriteLanes(2)
		takes := func(d time.Duration) error {
			return lanes.run(t.Context(), "orders", true, func(context.Context) error { <-time.After(d); return nil })
		}
		for _, c := range []struct {
			takes time.Duration
			slow  bool
		}{{time.Second, true}, {time.Second, true}, {time.Millisecond, false}, {time.Millisecond, false}} {
			if err := takes(c.takes); err != nil {
				t.Fatal(err)
			}
			if _, slow := lanes.slowest.Load("orders"); slow != c.slow {
				t.Errorf("after a flush of %s the boundary counts as slow: %t", c.takes, slow)
			}
		}
	})
}

func TestAFlushThatWaitsForAConnectionEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lanes := newWriteLanes(1)
		release := make(chan struct{})
		answers := stuck(t, lanes, 2, release)
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, gone)
		defer cancel()
		if err := lanes.run(ctx, "made up", false, func(context.Context) error { return nil }); !errors.Is(err, gone) {
			t.Errorf("it waited for the connection: %v", err)
		}
		close(release)
		for range 2 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if _, stored := lanes.slowest.Load("made up"); stored {
			t.Error("a name that a caller made up is stored")
		}
	})
}
