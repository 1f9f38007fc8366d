package service

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestLargePagesAreLimitedWhileThereAreSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLargePageLimiter()
		slots := max(1, runtime.GOMAXPROCS(0)/2)
		enter := func(ctx context.Context) func() {
			t.Helper()
			leave, err := l.enter(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return leave
		}
		for range slots + 1 { // no save yet: no limit, and nothing to leave
			enter(t.Context())
		}

		<-time.After(time.Second)
		l.noteSave()
		leave := enter(t.Context())
		for range slots - 1 {
			enter(t.Context())
		}
		// All slots are taken: the next page waits until one is left,
		begun := time.Now()
		time.AfterFunc(time.Millisecond, leave)
		enter(t.Context())
		if waited := time.Since(begun); waited != time.Millisecond {
			t.Errorf("waited %v for a slot, want 1ms", waited)
		}
		// or has been held for the longest time,
		begun = time.Now()
		l.noteSave()
		enter(t.Context())
		if waited := time.Since(begun); waited > largePageLasts {
			t.Errorf("waited %v for a page that takes long, want at most %v", waited, largePageLasts)
		}
		// or its own caller gives up.
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		l.noteSave()
		for range slots + 1 {
			if _, err := l.enter(ctx); err != nil {
				if !errors.Is(err, gone) {
					t.Errorf("error %v, want %v", err, gone)
				}
				<-time.After(savingLasts + time.Millisecond)
				enter(t.Context()) // the last save is long ago
				return
			}
		}
		t.Error("a page was read without a slot")
	})
}
