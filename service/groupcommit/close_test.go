package groupcommit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func (b *bench) close(ctx context.Context) <-chan error {
	closed := make(chan error, 1)
	go func() { closed <- b.batcher.Close(ctx) }()
	synctest.Wait()
	return closed
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := options()
		options.MaxRequests = 2
		b := newBench(t, options)
		answers := b.doAll("a")
		flush := b.next("a")
		answers = append(answers, b.doAll("b", "c", "d")...)
		first, second := b.close(t.Context()), b.close(t.Context())
		wantError(t, b.do(t.Context(), "e"), ErrClosed)
		flush.succeed()
		b.next("b", "c").fail(errTransient)
		b.next("b", "c").succeed()
		flush = b.next("d")
		select {
		case err := <-first:
			t.Fatalf("Close returned %v while d was flushed", err)
		default:
		}
		flush.succeed()
		wantResult(t, answers...)
		for _, closed := range []<-chan error{first, second, b.close(t.Context())} {
			if err := <-closed; err != nil {
				t.Errorf("Close = %v", err)
			}
		}
		wantError(t, b.do(t.Context(), "f"), ErrClosed)
	})
}

func TestCloseAtRestIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		wantResultAfter(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.batcher.Close(ctx); err != nil {
			t.Errorf("Close = %v, though there was nothing to wait for", err)
		}
		wantError(t, b.do(t.Context(), "a"), ErrClosed)
		b.none()
	})
}

func TestCloseCutsWhenItsContextEnds(t *testing.T) {
	for name, alone := range map[string]bool{"a lone flush": true, "a shared flush": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, options())
				sent := b.doAll("a")
				flush := b.next("a")
				if !alone {
					shared := b.doAll("b", "c")
					flush.succeed()
					wantResult(t, sent...)
					sent = shared
					flush = b.next("b", "c")
				}
				waiting := b.doAll("d", "e")
				start := time.Now()
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errOther)
				defer cancel()
				if err := b.batcher.Close(ctx); !errors.Is(err, errOther) {
					t.Errorf("Close = %v, want the cause of its context's end", err)
				}
				if waited := time.Since(start); waited != time.Minute {
					t.Errorf("Close returned after %s, want 1m", waited)
				}
				<-flush.ctx.Done()
				if cause := context.Cause(flush.ctx); !errors.Is(cause, ErrClosed) {
					t.Errorf("the flush ended for %v, want %v", cause, ErrClosed)
				}
				for _, answer := range waiting {
					if got := wantError(t, answer, ErrClosed); got.err != ErrClosed { //nolint:errorlint // bare: it was never sent
						t.Errorf("Do(%q) = %v, want ErrClosed itself: it was never sent", got.request, got.err)
					}
				}
				for _, answer := range sent {
					wantError(t, answer, ErrClosed, context.Canceled)
				}
				b.none()
			})
		})
	}
}

func TestAFlushThatSucceedsInSpiteOfTheCutIsASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := New(options(), func(_ context.Context, batch []string) ([]string, error) {
			<-release // the commit was on its way when the context ended
			return batch, nil
		})
		answer := make(chan error)
		go func() {
			_, err := b.Do(t.Context(), "a")
			answer <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Close = %v", err)
		}
		close(release)
		if err := <-answer; err != nil {
			t.Errorf("Do = %v, though it is saved", err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("the second Close = %v, though all has ended", err)
		}
	})
}

func TestTheCutEndsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, options())
		sent := b.do(t.Context(), "a")
		closed := func() <-chan error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return b.close(ctx)
		}()
		b.refuseFor(2 * time.Second)
		got := wantError(t, sent, ErrClosed)
		if err := <-closed; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		if !errors.Is(got.err, errTransient) && !errors.Is(got.err, context.Canceled) {
			t.Errorf("Do = %v, want it to have the last failure", got.err)
		}
		b.none()
	})
}
