package groupcommit

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

type nameKey struct{}

// tracedFlush is one call of Trace, and how its flush ended.
type tracedFlush struct {
	key   string
	names []string
	came  []time.Duration
	err   error
}

// A reader who follows a request by its context finds each of them in the sending that it is part of, and how that
// ended, panics included.
func TestEveryFlushHasTheContextsOfItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sendings []*tracedFlush
		traced := options()
		begin := time.Now()
		traced.Trace = func(ctx context.Context, key string, callers iter.Seq2[context.Context, time.Time]) (context.Context,
			func(error),
		) {
			s := &tracedFlush{key: key}
			sendings = append(sendings, s)
			for caller, since := range callers {
				s.names = append(s.names, caller.Value(nameKey{}).(string))
				s.came = append(s.came, since.Sub(begin))
			}
			return context.WithValue(ctx, nameKey{}, "the flush"), func(err error) { s.err = err }
		}
		b := newBench(t, traced)
		do := func(name string) <-chan outcome { return b.do(context.WithValue(t.Context(), nameKey{}, name), name) }

		first := do("a")
		flush := b.next("a")
		time.Sleep(time.Second)
		second := do("b")
		time.Sleep(time.Second)
		third := do("c")
		flush.succeed()
		flush = b.next("b", "c")
		if name := flush.ctx.Value(nameKey{}); name != "the flush" {
			t.Errorf("the flush got the context of %v, not the one that Trace returned", name)
		}
		flush.answer <- func() ([]string, error) { panic(errOther) }
		b.next("b").fail(errOther)
		b.next("c").fail(errOther)
		wantResult(t, first)
		wantError(t, second, errOther)
		wantError(t, third, errOther)

		if len(sendings) != 4 || !slices.Equal(sendings[0].names, []string{"a"}) ||
			!slices.Equal(sendings[1].names, []string{"b", "c"}) {
			t.Fatalf("sendings %+v", sendings)
		}
		if want := []time.Duration{time.Second, 2 * time.Second}; !slices.Equal(sendings[1].came, want) {
			t.Errorf("b and c came at %v, want %v", sendings[1].came, want)
		}
		if sendings[0].err != nil || !errors.Is(sendings[1].err, errOther) {
			t.Errorf("the sendings ended with %v and %v, want success and the panic", sendings[0].err, sendings[1].err)
		}
	})
}

func TestTheQueueOfEachKeyIsCountedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		group := NewGroup(options(), func(_ context.Context, _ string, batch []string) ([]string, error) {
			<-block
			return batch, nil
		})
		for _, key := range []string{"orders", "orders", "orders", "users"} {
			go func() {
				if _, err := group.Do(t.Context(), key, "a"); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		if queued := group.Queued(); queued["orders"] != 2 || queued["users"] != 0 || len(queued) != 2 {
			t.Errorf("queued %v, want 2 behind the flush of orders and none behind that of users", queued)
		}
		close(block)
		synctest.Wait()
		if queued := group.Queued(); queued["orders"] != 0 {
			t.Errorf("queued %v after all was flushed", queued)
		}
	})
}
