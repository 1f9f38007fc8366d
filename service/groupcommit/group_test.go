package groupcommit

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// slow holds the flushes of key "slow" until it is released.
func newGroup(t *testing.T, options Options[string]) (group *Group[string, string], release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	return NewGroup(options, func(ctx context.Context, key string, batch []string) ([]string, error) {
		results := make([]string, len(batch))
		for i, request := range batch {
			results[i] = key + ": " + request
		}
		if key != "slow" {
			return results, nil
		}
		select {
		case <-release:
			return results, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), release
}

func TestASlowKeyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed []string
		g, release := newGroup(t, Options[string]{Observe: func(f Flush) { observed = append(observed, f.Key) }})
		slow := make(chan string)
		go func() {
			result, err := g.Do(t.Context(), "slow", "a")
			slow <- result + " " + errText(err)
		}()
		synctest.Wait()
		for range 3 {
			if result, err := g.Do(t.Context(), "fast", "b"); result != "fast: b" || err != nil {
				t.Fatalf("Do = %q, %v", result, err)
			}
		}
		close(release)
		if got := <-slow; got != "slow: a nil" {
			t.Errorf("the slow one got %q", got)
		}
		synctest.Wait()
		if len(observed) != 4 || observed[0] != "fast" || observed[3] != "slow" {
			t.Errorf("observed the keys %q", observed)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

func TestIdleKeysAreDroppedAndBusyOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, release := newGroup(t, Options[string]{})
		slow := make(chan error)
		go func() {
			_, err := g.Do(t.Context(), "slow", "a")
			slow <- err
		}()
		synctest.Wait()
		busy := g.batchers["slow"]
		for i := range 10 * maxIdle {
			if _, err := g.Do(t.Context(), strconv.Itoa(i), "b"); err != nil {
				t.Fatal(err)
			}
			if count := len(g.batchers); count > maxIdle {
				t.Fatalf("%d batchers stay, at most %d may", count, maxIdle)
			}
		}
		if g.batchers["slow"] != busy {
			t.Error("a busy batcher was dropped: its key could have two flushes at once")
		}
		close(release)
		if err := <-slow; err != nil {
			t.Error(err)
		}
	})
}

func TestACallThatMeetsADroppedBatcherGetsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *Group[string, string]
		sized := 0
		g, _ = newGroup(t, Options[string]{Size: func(string) (items, bytes int) {
			// The call has found its batcher and not entered it yet.
			if sized++; sized == 1 {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.sweep()
			}
			return 1, 0
		}})
		if result, err := g.Do(t.Context(), "key", "a"); result != "key: a" || err != nil {
			t.Errorf("Do = %q, %v", result, err)
		}
		if sized != 2 {
			t.Errorf("met %d batchers, want the dropped one and a new one", sized)
		}
	})
}

func TestManyBusyKeysAllStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 3 * maxIdle
		release := make(chan struct{})
		g := NewGroup(Options[string]{}, func(_ context.Context, _ string, batch []string) ([]string, error) {
			<-release
			return batch, nil
		})
		answers := make(chan error, keys)
		for i := range keys {
			go func() {
				_, err := g.Do(t.Context(), strconv.Itoa(i), "a")
				answers <- err
			}()
		}
		synctest.Wait()
		if count := len(g.batchers); count != keys {
			t.Errorf("%d batchers stay, want the %d that are busy", count, keys)
		}
		close(release)
		for range keys {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCloseOfAGroupDrainsEveryKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, release := newGroup(t, Options[string]{})
		if _, err := g.Do(t.Context(), "fast", "a"); err != nil {
			t.Fatal(err)
		}
		slow := make(chan error, 1)
		go func() {
			_, err := g.Do(t.Context(), "slow", "a")
			slow <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- g.Close(t.Context()) }()
		synctest.Wait()
		for _, key := range []string{"fast", "slow", "new"} {
			if _, err := g.Do(t.Context(), key, "b"); !errors.Is(err, ErrClosed) {
				t.Errorf("Do on %q = %v, want ErrClosed", key, err)
			}
		}
		select {
		case err := <-closed:
			t.Fatalf("Close returned %v while a flush was in flight", err)
		default:
		}
		close(release)
		if err := <-slow; err != nil {
			t.Error(err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseOfAGroupReportsWhatItCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t, Options[string]{})
		slow := make(chan error, 1)
		go func() {
			_, err := g.Do(t.Context(), "slow", "a")
			slow <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		if err := <-slow; !errors.Is(err, ErrClosed) {
			t.Errorf("Do = %v, want ErrClosed", err)
		}
	})
}
