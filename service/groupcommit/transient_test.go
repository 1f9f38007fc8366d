package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnOutageIsAPauseAndNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		rest := b.doAll("b", "c", "d")
		flush.succeed()
		wantResult(t, first...)

		flush = b.next("b", "c", "d")
		for _, millis := range []int64{10, 20, 40, 80, 160, 250, 250, 250} {
			delay := time.Duration(millis) * time.Millisecond
			flush.fail(errTransient)
			failed := time.Now()
			flush = b.next("b", "c", "d")
			if paused := time.Since(failed); paused < delay/2 || paused > delay {
				t.Errorf("paused for %s, want %s to %s", paused, delay/2, delay)
			}
		}
		wantUnanswered(t, rest...)
		flush.succeed()
		wantResult(t, rest...)
	})
}

func TestTheDelaysOfManyBatchersSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paused := map[time.Duration]bool{}
		for range 20 {
			b := newBench(t, options())
			answer := b.doAll("a")
			b.next("a").fail(errTransient)
			failed := time.Now()
			b.next("a").succeed()
			paused[time.Since(failed)] = true
			wantResult(t, answer...)
		}
		if len(paused) < 10 {
			t.Errorf("20 batchers came back at %d moments: they come back together", len(paused))
		}
	})
}

func TestACallCancelledDuringAnOutageIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		ctx, cancel := context.WithCancelCause(t.Context())
		second, third := b.do(ctx, "b"), b.do(t.Context(), "c")
		flush.succeed()
		b.next("b", "c").fail(errTransient)
		synctest.Wait()
		cancel(errGone)
		wantError(t, second, errGone, errTransient)
		b.next("c").succeed()
		wantResult(t, append(first, third)...)
	})
}

func TestAnOutageThatOutlastsEveryCallEndsTheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		first := b.doAll("a")
		flush := b.next("a")
		ctx, cancel := context.WithCancelCause(t.Context())
		second, third := b.do(ctx, "b"), b.do(ctx, "c")
		flush.succeed()
		b.next("b", "c").fail(errTransient)
		synctest.Wait()
		cancel(errGone)
		wantError(t, second, errGone, errTransient)
		wantError(t, third, errGone, errTransient)
		wantResult(t, first...)
		left := time.Now()
		wantResultAfter(t, b)
		if waited := time.Since(left); waited != 0 {
			t.Errorf("the next request waited %s for a delay of calls that had ended", waited)
		}
	})
}

// refuseFor answers every flush with a failure for a while; then the test goes on.
func (b *bench) refuseFor(d time.Duration) {
	b.t.Helper()
	until := time.After(d)
	for attempt := 1; ; attempt++ {
		select {
		case f := <-b.flushes:
			f.fail(fmt.Errorf("attempt %d: %w", attempt, errTransient))
		case <-until:
			return
		}
	}
}

func TestADeadlineEndsTheWaitForARecovery(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprintf("alone=%t", alone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, options())
				start := time.Now()
				var answers []<-chan outcome
				var flush flushing
				if !alone {
					answers = b.doAll("a")
					flush = b.next("a")
				}
				for i, request := range []string{"b", "c"}[:map[bool]int{true: 1, false: 2}[alone]] {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*time.Minute)
					defer cancel()
					answers = append(answers, b.do(ctx, request))
				}
				if !alone {
					flush.succeed()
					wantResult(t, answers[0])
					answers = answers[1:]
				}
				b.refuseFor(3 * time.Minute)
				for i, answer := range answers {
					got := wantError(t, answer, context.DeadlineExceeded, errTransient)
					if waited, want := got.at.Sub(start), time.Duration(i+1)*time.Minute; waited != want {
						t.Errorf("Do(%q) gave up after %s, want %s", got.request, waited, want)
					}
				}
				b.none()
			})
		})
	}
}

func TestCallersWithoutADeadlineGiveUpAfterMaxTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := options()
		options.MaxTransient = 10 * time.Second
		b := newBench(t, options)
		first := b.doAll("a")
		flush := b.next("a")
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		bounded, unbounded := b.do(ctx, "b"), b.do(t.Context(), "c")
		flush.succeed()
		wantResult(t, first...)
		b.refuseFor(20 * time.Second)
		got := wantError(t, unbounded, errTransient)
		if waited := got.at.Sub(start); waited < 10*time.Second-lastDelay || waited > 10*time.Second {
			t.Errorf("gave up after %s, want within %s before 10s", waited, lastDelay)
		}
		wantUnanswered(t, bounded)
		b.next("b").succeed()
		wantResult(t, bounded)
	})
}

func TestEveryOutageHasItsOwnMaxTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := options()
		options.MaxTransient = 10 * time.Second
		b := newBench(t, options)
		for range 3 {
			answer := b.doAll("a")
			b.refuseFor(9 * time.Second)
			b.next("a").succeed()
			wantResult(t, answer...)
		}
		lost := b.do(t.Context(), "a")
		b.refuseFor(11 * time.Second)
		wantError(t, lost, errTransient)

		good := b.doAll("a")
		b.refuseFor(9 * time.Second)
		flush := b.next("a")
		good = append(good, b.doAll("b")...)
		poisoned := b.do(t.Context(), "c")
		flush.succeed()
		b.refuseFor(9 * time.Second)
		b.next("b", "c").fail(errPoison)
		b.refuseFor(9 * time.Second)
		b.next("b").succeed()
		b.refuseFor(9 * time.Second)
		b.next("c").fail(errPoison)
		wantError(t, poisoned, errPoison)
		wantResult(t, good...)
	})
}

func TestTheQueueFillsToItsBoundDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := options()
		options.MaxQueue = 3
		b := newBench(t, options)
		answers := b.doAll("a")
		b.refuseFor(time.Second)
		answers = append(answers, b.doAll("b", "c", "d")...)
		wantError(t, b.do(t.Context(), "e"), ErrQueueFull)
		b.refuseFor(time.Second)
		b.next("a").succeed()
		b.next("b", "c", "d").succeed()
		wantResult(t, answers...)
	})
}

func TestAnOutageWhileAPoisonedBatchIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		good := b.doAll("a")
		flush := b.next("a")
		good = append(good, b.doAll("b")...)
		poisoned := b.do(t.Context(), "c")
		good = append(good, b.doAll("d", "e")...)
		flush.succeed()
		b.next("b", "c", "d", "e").fail(errTransient)
		b.next("b", "c", "d", "e").fail(errPoison)
		b.next("b", "c").fail(errTransient)
		b.next("b", "c").fail(errPoison)
		b.next("b").succeed()
		b.next("c").fail(errTransient)
		b.next("c").fail(errPoison)
		wantError(t, poisoned, errPoison)
		b.next("d", "e").succeed()
		wantResult(t, good...)
	})
}

func TestAFlushBothTransientAndPoisonedIsRetriedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		answers := b.doAll("a")
		flush := b.next("a")
		answers = append(answers, b.doAll("b", "c")...)
		flush.succeed()
		b.next("b", "c").fail(errors.Join(errPoison, errTransient))
		b.next("b", "c").succeed()
		wantResult(t, answers...)
	})
}

func TestRetriesAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed []Flush
		options := options()
		options.Observe = func(f Flush) { f.Took = 0; observed = append(observed, f) }
		options.MaxTransient = time.Second
		b := newBench(t, options)
		recovered := b.doAll("a")
		b.next("a").fail(errTransient)
		b.next("a").fail(errTransient)
		b.next("a").succeed()
		wantResult(t, recovered...)
		lost := b.do(t.Context(), "b")
		b.refuseFor(2 * time.Second)
		wantError(t, lost, errTransient)
		synctest.Wait()
		if len(observed) != 2 || !slices.Equal(observed[:1], []Flush{{Requests: 1, Items: 1, Retries: 2}}) {
			t.Fatalf("observed %+v", observed)
		}
		if last := observed[1]; last.Retries < 3 || !errors.Is(last.Err, errTransient) {
			t.Errorf("observed %+v, want several retries and their error", last)
		}
	})
}
