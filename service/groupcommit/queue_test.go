package groupcommit

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func goroutine() string {
	var stack [64]byte
	id, _, _ := bytes.Cut(stack[:runtime.Stack(stack[:], false)], []byte(" ["))
	return string(id)
}

func TestALoneRequestDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flusher := ""
		b := New(Options[string]{}, func(_ context.Context, batch []string) ([]string, error) {
			flusher = goroutine()
			return batch, nil
		})
		start := time.Now()
		for range 3 {
			if result, err := b.Do(t.Context(), "a"); result != "a" || err != nil {
				t.Fatalf("Do = %q, %v", result, err)
			}
			if caller := goroutine(); flusher != caller {
				t.Errorf("flushed by %s, want the caller's %s", flusher, caller)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s for company", waited)
		}
	})
}

func TestOneFlushAtATimeTakesAllThatQueuedMeanwhileInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		rest := b.doAll("b", "c", "d", "e")
		b.none()
		flush.succeed()
		wantResult(t, first...)
		flush = b.next("b", "c", "d", "e")
		last := b.doAll("f")
		b.none()
		flush.succeed()
		wantResult(t, rest...)
		b.next("f").succeed()
		wantResult(t, last...)
		b.none()
	})
}

// The size of sized requests is their length: as many items as letters, ten bytes each.
func sized(options Options[string]) Options[string] {
	options.Size = func(request string) (items, bytes int) { return len(request), 10 * len(request) }
	return options
}

func TestCapsHoldAndALargeRequestGoesAlone(t *testing.T) {
	for name, caps := range map[string]Options[string]{
		"requests": {MaxRequests: 2},
		"items":    {MaxItems: 3},
		"bytes":    {MaxBytes: 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, sized(caps))
				answers := b.doAll("busy")
				flush := b.next("busy")
				answers = append(answers, b.doAll("a", "bb", "c", "ddddd", "e", "f", "gg")...)
				batches := [][]string{{"a", "bb"}, {"c"}, {"ddddd"}, {"e", "f"}, {"gg"}}
				if name == "requests" {
					batches = [][]string{{"a", "bb"}, {"c", "ddddd"}, {"e", "f"}, {"gg"}}
				}
				for _, batch := range batches {
					flush.succeed()
					flush = b.next(batch...)
				}
				flush.succeed()
				wantResult(t, answers...)
			})
		})
	}
}

func TestAFullQueuePushesBack(t *testing.T) {
	for name, bounds := range map[string]Options[string]{
		"requests": {MaxQueue: 2},
		"bytes":    {MaxQueueBytes: 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, sized(bounds))
				first := b.do(t.Context(), "a")
				flush := b.next("a")
				ctx, leave := context.WithCancelCause(t.Context())
				second, third := b.do(ctx, "b"), b.do(t.Context(), "c")
				if got := wantError(t, b.do(t.Context(), "d"), ErrQueueFull); got.result != "" {
					t.Errorf("refused with the result %q", got.result)
				}

				leave(errGone)
				wantError(t, second, errGone)
				fourth := b.do(t.Context(), "e")
				wantError(t, b.do(t.Context(), "f"), ErrQueueFull)

				flush.succeed()
				flush = b.next("c", "e")
				fifth := b.do(t.Context(), "g")
				flush.succeed()
				b.next("g").succeed()
				wantResult(t, first, third, fourth, fifth)
			})
		})
	}
}

func TestAnEmptyQueueTakesWhatWouldFitAtNoOtherTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, sized(Options[string]{MaxQueueBytes: 20}))
		large := strings.Repeat("x", 100)
		answers := b.doAll("a")
		flush := b.next("a")
		answers = append(answers, b.doAll(large)...)
		wantError(t, b.do(t.Context(), "b"), ErrQueueFull)
		flush.succeed()
		b.next(large).succeed()
		wantResult(t, answers...)
	})
}

func TestACancelledCallerLeavesTheQueueAndIsNeverSent(t *testing.T) {
	for _, leaver := range []int{0, 1, 2} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, options())
			first := b.do(t.Context(), "a")
			flush := b.next("a")
			ctx, cancel := context.WithCancelCause(t.Context())
			requests := []string{"b", "c", "d"}
			var stayers []<-chan outcome
			var left <-chan outcome
			var stay []string
			for i, request := range requests {
				if i == leaver {
					left = b.do(ctx, request)
					continue
				}
				stay = append(stay, request)
				stayers = append(stayers, b.do(t.Context(), request))
			}
			cancel(errGone)
			if got := wantError(t, left, errGone); got.err != errGone { //nolint:errorlint // not wrapped
				t.Errorf("left with %v, want the cause itself", got.err)
			}
			flush.succeed()
			b.next(stay...).succeed()
			wantResult(t, append(stayers, first)...)
		})
	}
}

func TestADeadlineEndsTheWaitInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		got := wantError(t, b.do(ctx, "b"), context.DeadlineExceeded)
		if waited := got.at.Sub(start); waited != 3*time.Second {
			t.Errorf("waited %s, want 3s", waited)
		}
		flush.succeed()
		wantResult(t, first)
		b.none()
	})
}

func TestACallerWhoseContextHasEndedIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errGone)
		wantError(t, b.do(ctx, "a"), errGone)
		b.none()
	})
}

// The caller's context ends, and before its goroutine runs the flush in flight does as well.
func TestARequestWhoseContextEndedIsNotSentThoughItsCallerHasNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		ctx := &unnoticed{Context: t.Context()}
		second, third := b.do(ctx, "b"), b.do(t.Context(), "c")
		ctx.ended = true
		flush.succeed()
		b.next("c").succeed()
		wantResult(t, first, third)
		wantError(t, second, context.Canceled)
	})
}

// unnoticed is a context that has ended without waking anybody yet.
type unnoticed struct {
	context.Context
	ended bool
}

func (c *unnoticed) Err() error {
	if c.ended {
		return context.Canceled
	}
	return nil
}

func (c *unnoticed) Value(key any) any {
	if c.ended {
		return endedContext.Value(key) // where context.Cause looks
	}
	return c.Context.Value(key)
}

var endedContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func TestABatcherAtRestHoldsNoGoroutine(t *testing.T) {
	// The bubble ends without Close: it fails if a goroutine is left.
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.succeed()
		b.next("b", "c").succeed()
		wantResult(t, append(first, rest...)...)
		synctest.Wait()
	})
}

func TestTheContextOfAFlushCarriesTheValuesOfItsFirstCaller(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(context.WithValue(t.Context(), key{}, "of a"), "a")
		flush := b.next("a")
		second := b.do(context.WithValue(t.Context(), key{}, "of b"), "b")
		third := b.do(context.WithValue(t.Context(), key{}, "of c"), "c")
		if value := flush.ctx.Value(key{}); value != "of a" {
			t.Errorf("a's flush has the value %v", value)
		}
		flush.succeed()
		flush = b.next("b", "c")
		if value := flush.ctx.Value(key{}); value != "of b" {
			t.Errorf("b's and c's flush has the value %v", value)
		}
		flush.succeed()
		wantResult(t, first, second, third)
	})
}
