package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACallCancelledDuringTheFlushLeavesItToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		ctx, cancel := context.WithCancelCause(t.Context())
		second, third := b.do(ctx, "b"), b.do(t.Context(), "c")
		flush.succeed()
		flush = b.next("b", "c")
		cancel(errGone)
		wantError(t, second, errGone)
		wantUnanswered(t, third)
		if err := flush.ctx.Err(); err != nil {
			t.Errorf("the flush was cancelled with %v, though c waits for it", err)
		}
		flush.succeed()
		wantResult(t, first, third)
	})
}

func TestAFlushEndsWhenItsLastCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		ctx1, cancel1 := context.WithCancelCause(t.Context())
		ctx2, cancel2 := context.WithCancelCause(t.Context())
		second, third := b.do(ctx1, "b"), b.do(ctx2, "c")
		flush.succeed()
		flush = b.next("b", "c")
		cancel1(errGone)
		synctest.Wait()
		if flush.ctx.Err() != nil {
			t.Fatal("the flush was cancelled by one of its two callers")
		}
		cancel2(errGone)
		<-flush.ctx.Done()
		if cause := context.Cause(flush.ctx); !errors.Is(cause, errGone) {
			t.Errorf("the flush was cancelled for %v, want %v", cause, errGone)
		}
		wantError(t, second, errGone)
		wantError(t, third, errGone)
		wantResult(t, first)
		wantResultAfter(t, b)
	})
}

// A context that outlived its flush would be held by its parent: that of a stream, for as long as the stream lasts.
func TestTheContextOfAFlushEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.succeed()
		<-flush.ctx.Done()
		flush = b.next("b", "c")
		flush.fail(errTransient)
		<-flush.ctx.Done()
		flush = b.next("b", "c")
		flush.succeed()
		<-flush.ctx.Done()
		wantResult(t, append(first, rest...)...)
	})
}

func TestALoneCancelledCallEndsItsFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		ctx, cancel := context.WithCancelCause(t.Context())
		first := b.do(ctx, "a")
		flush := b.next("a")
		second := b.do(t.Context(), "b")
		cancel(errGone)
		<-flush.ctx.Done()
		if got := wantError(t, first, errGone); got.err != errGone { //nolint:errorlint // not wrapped
			t.Errorf("gone with %v, want the cause itself", got.err)
		}
		b.next("b").succeed()
		wantResult(t, second)
	})
}

// wantResultAfter shows that the batcher still works, whatever went before.
func wantResultAfter(t *testing.T, b *bench) {
	t.Helper()
	answer := b.do(t.Context(), "after")
	b.next("after").succeed()
	wantResult(t, answer)
}

func TestTheDeadlineOfAFlushIsTheLatestOfItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		start := time.Now()
		answers := []<-chan outcome{b.do(within(time.Second), "a")}
		flush := b.next("a")
		if deadline, _ := flush.ctx.Deadline(); deadline.Sub(start) != time.Second {
			t.Errorf("a lone caller's flush ends at %s, want 1s", deadline.Sub(start))
		}
		answers = append(answers, b.do(within(2*time.Second), "b"), b.do(within(9*time.Second), "c"),
			b.do(within(4*time.Second), "d"))
		flush.succeed()
		flush = b.next("b", "c", "d")
		if deadline, _ := flush.ctx.Deadline(); deadline.Sub(start) != 9*time.Second {
			t.Errorf("the flush ends at %s, want the latest, 9s", deadline.Sub(start))
		}
		answers = append(answers, b.do(within(2*time.Second), "e"), b.do(t.Context(), "f"))
		flush.succeed()
		flush = b.next("e", "f")
		if deadline, ok := flush.ctx.Deadline(); ok {
			t.Errorf("the flush ends at %s, though f has no deadline", deadline.Sub(start))
		}
		flush.succeed()
		wantResult(t, answers...)
	})
}

func TestPoisonHarmsOnlyItsOwnCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		good := append(b.doAll("b", "c", "d"), first...)
		poisoned := b.do(t.Context(), "e")
		good = append(good, b.doAll("f", "g")...)
		flush.succeed()

		b.next("b", "c", "d", "e", "f", "g").fail(errPoison)
		b.next("b", "c", "d").succeed()
		b.next("e", "f", "g").fail(errPoison)
		b.next("e").fail(fmt.Errorf("events[0]: %w", errPoison))
		wantError(t, poisoned, errPoison)
		b.next("f", "g").succeed()
		wantResult(t, good...)
		wantResultAfter(t, b)
	})
}

func TestALonePoisonedRequestIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		answer := b.do(t.Context(), "a")
		b.next("a").fail(errPoison)
		wantError(t, answer, errPoison)
		b.none()
	})
}

func TestACallCancelledWhileTheOtherHalfIsSentIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		good := b.doAll("a")
		flush := b.next("a")
		ctx, cancel := context.WithCancelCause(t.Context())
		good = append(good, b.doAll("b", "c")...)
		leavers := []<-chan outcome{b.do(ctx, "d"), b.do(ctx, "e")}
		poisoned := b.do(t.Context(), "f")
		flush.succeed()
		b.next("b", "c", "d", "e", "f").fail(errPoison)
		flush = b.next("b", "c")
		cancel(errGone)
		for _, leaver := range leavers {
			wantError(t, leaver, errGone)
		}
		if flush.ctx.Err() != nil {
			t.Error("d and e ended a flush that they are not in")
		}
		flush.succeed()
		b.next("f").fail(errPoison)
		wantError(t, poisoned, errPoison)
		wantResult(t, good...)
	})
}

func TestAnErrorOfAllRequestsReachesEachOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.succeed()
		b.next("b", "c").fail(errOther)
		b.next("b").fail(errOther)
		b.next("c").fail(errOther)
		wantResult(t, first...)
		for _, answer := range rest {
			wantError(t, answer, errOther)
		}
		wantResultAfter(t, b)
	})
}

func TestAMissingResultIsAnErrorForEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		for _, results := range [][]string{nil, {"one"}, {"one", "two", "three"}} {
			first := b.doAll("a")
			flush := b.next("a")
			rest := b.doAll("b", "c")
			flush.succeed()
			b.next("b", "c").answer <- func() ([]string, error) { return results, nil }
			b.next("b").answer <- func() ([]string, error) { return nil, nil }
			b.next("c").answer <- func() ([]string, error) { return nil, nil }
			wantResult(t, first...)
			for _, answer := range rest {
				got := <-answer
				if want := "answered 0 results to 1 requests"; got.err == nil || !strings.Contains(got.err.Error(), want) {
					t.Errorf("Do(%q) = %q, %v, want an error that says %q", got.request, got.result, got.err, want)
				}
			}
		}
	})
}

func TestAPanicIsAnErrorForItsCallersAndTheNextFlushGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.answer <- func() ([]string, error) { panic("lone") }
		flush = b.next("b", "c")
		last := b.doAll("d")
		flush.answer <- func() ([]string, error) { panic(errOther) }
		b.next("b").answer <- func() ([]string, error) { panic(errOther) }
		b.next("c").answer <- func() ([]string, error) { panic(errOther) }
		b.next("d").succeed()

		var panicked *PanicError
		if got := wantError(t, first); !errors.As(got.err, &panicked) || panicked.Value != "lone" ||
			!strings.Contains(string(panicked.Stack), "flush_test.go") {
			t.Errorf("Do(a) = %v, want the panic with its stack", got.err)
		}
		for _, answer := range rest {
			wantError(t, answer, errOther)
		}
		wantResult(t, last...)
	})
}

func TestAFlushThatEndsItsGoroutineLeavesNoCallWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.do(t.Context(), "a")
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.succeed()
		flush = b.next("b", "c")
		last := b.doAll("d")
		flush.answer <- func() ([]string, error) { runtime.Goexit(); return nil, nil }
		for _, answer := range rest {
			wantError(t, answer, errAbandoned)
		}
		b.next("d").succeed()
		wantResult(t, append(last, first)...)
	})
}

// A server recovers the panic of a handler; the batcher must not stay busy for ever because of it.
func TestAPanicOfAnOptionStopsNoOtherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := options()
		options.IsTransient = func(error) bool { panic("a bug in IsTransient") }
		b := newBench(t, options)
		panicked := make(chan any)
		go func() {
			defer func() { panicked <- recover() }()
			_, err := b.batcher.Do(t.Context(), "a")
			t.Errorf("Do = %v, want the panic", err)
		}()
		flush := b.next("a")
		rest := b.doAll("b", "c")
		flush.fail(errOther)
		if value := <-panicked; value != "a bug in IsTransient" {
			t.Errorf("the caller got %v, want its panic", value)
		}
		b.next("b", "c").succeed()
		wantResult(t, rest...)
	})
}

func TestAPanicOverOneRequestHarmsOnlyItsOwnCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options[string]{},
			func(ctx context.Context, batch []string) ([]string, error) {
				if slices.Contains(batch, "bad") {
					panic("bad")
				}
				select {
				case <-time.After(time.Second):
					return batch, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
		answers := make(chan outcome)
		requests := []string{"first", "good", "bad", "better"}
		for _, request := range requests {
			go func() {
				result, err := b.Do(t.Context(), request)
				answers <- outcome{request: request, result: result, err: err}
			}()
			synctest.Wait()
		}
		for range requests {
			if got := <-answers; (got.request == "bad") != (got.err != nil) {
				t.Errorf("Do(%q) = %q, %v", got.request, got.result, got.err)
			}
		}
	})
}

func TestObserveReportsTheOutcomeOfEachFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed []Flush
		options := sized(options())
		options.Observe = func(f Flush) { observed = append(observed, f) }
		b := newBench(t, options)
		answers := b.doAll("a")
		flush := b.next("a")
		answers = append(answers, b.doAll("bb")...)
		<-time.After(2 * time.Second)
		answers = append(answers, b.doAll("cccc")...)
		<-time.After(time.Second)
		flush.succeed()
		flush = b.next("bb", "cccc")
		<-time.After(5 * time.Second)
		flush.fail(errPoison)
		b.next("bb").fail(errPoison)
		b.next("cccc").succeed()
		for _, answer := range answers {
			<-answer
		}
		synctest.Wait()
		want := []Flush{
			{Requests: 1, Items: 1, Bytes: 10, Took: 3 * time.Second},
			{Requests: 2, Items: 6, Bytes: 60, Waited: 3 * time.Second, Took: 5 * time.Second, Retries: 2, Err: errPoison},
		}
		if !slices.Equal(observed, want) {
			t.Errorf("observed\n%+v, want\n%+v", observed, want)
		}
	})
}
