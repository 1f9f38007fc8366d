package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/service/auth"
)

// asUser is a context whose caller is a user.
func asUser(t *testing.T, user string) context.Context {
	t.Helper()
	return auth.NewContext(t.Context(), auth.Identity{UserID: user, Username: user})
}

// enters takes a share, which must be free.
func enters(t *testing.T, share *ReadShare, user, boundary string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(asUser(t, user))
	defer cancel()
	entered := make(chan func(), 1)
	go func() {
		if leave, err := share.Enter(ctx, boundary); err == nil {
			entered <- leave
		}
	}()
	synctest.Wait()
	select {
	case leave = <-entered:
	default:
		t.Fatalf("user %s waits for a connection in boundary %s", user, boundary)
	}
	return leave
}

// waits begins to wait for a share, which must not be free; the channel gets it.
func waits(
	t *testing.T, ctx context.Context, share *ReadShare, boundary string, //nolint:revive // t stands first here
) <-chan func() {
	t.Helper()
	entered := make(chan func(), 1)
	go func() {
		if leave, err := share.Enter(ctx, boundary); err == nil {
			entered <- leave
		}
	}()
	synctest.Wait()
	select {
	case <-entered:
		t.Fatalf("a connection in boundary %s is free", boundary)
	default:
	}
	return entered
}

func TestABoundaryHasHalfOfTheReadPoolAndACallerLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewReadShare(10)
		var leave []func()
		for range 4 {
			leave = append(leave, enters(t, share, "greedy", "orders"))
		}
		first, second := waits(t, asUser(t, "greedy"), share, "orders"), waits(t, asUser(t, "greedy"), share, "users")
		leave = append(leave, enters(t, share, "modest", "orders"))
		third := waits(t, asUser(t, "third"), share, "orders")
		for range 4 {
			leave = append(leave, enters(t, share, "other", "users"))
		}
		leave = append(leave, enters(t, share, "modest", "users"))

		// One leaves orders: the caller that holds the fewest comes first, though it came last.
		ended, cancel := context.WithCancel(asUser(t, "impatient"))
		fourth := waits(t, ended, share, "orders")
		cancel()
		synctest.Wait()
		leave[0]()
		leave[0]() // once more changes nothing
		synctest.Wait()
		select {
		case leave := <-third:
			leave()
		case <-first:
			t.Error("the caller that holds the most comes first")
		case <-second:
			t.Error("a boundary gets more than half")
		case <-fourth:
			t.Error("a caller that is gone gets a connection")
		default:
			t.Error("a free connection goes to no waiter")
		}
		for _, l := range leave[1:] {
			l()
		}
		(<-first)()
		(<-second)()
	})
}

func TestSlotsAreGivenBackAndWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2, 3)
		var leave []func()
		for i := range 2 {
			l, err := s.enter(t.Context(), claim{fmt.Sprint("b", i), 1})
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, l)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := s.enter(ctx, claim{"b0", 1})
				errs <- err
			}()
		}
		synctest.Wait()
		var full slotsFullError
		if _, err := s.enter(t.Context(), claim{"b0", 1}); !errors.As(err, &full) || full.waiting != 3 {
			t.Errorf("the fourth waiter: %v", err)
		}
		gone := errors.New("gone")
		cancel(gone)
		for range 3 {
			if err := <-errs; !errors.Is(err, gone) {
				t.Errorf("a waiter that is gone: %v", err)
			}
		}
		for _, l := range leave {
			l()
		}
		if s.free != 2 || len(s.held)+len(s.queues) != 0 {
			t.Errorf("after all: %d free, held %v, %d queues", s.free, s.held, len(s.queues))
		}
	})
}

func TestTooManyWaitingReadsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewReadShare(2)
		leave := enters(t, share, "greedy", "orders")
		ctx, cancel := context.WithCancel(asUser(t, "greedy"))
		for range maxWaitingReads {
			go func() {
				if _, err := share.Enter(ctx, "orders"); status.Code(err) != codes.Canceled {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if _, err := share.Enter(ctx, "orders"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more than may wait: %v", err)
		}
		enters(t, share, "modest", "users")()
		cancel()
		synctest.Wait()
		leave()
		enters(t, share, "greedy", "orders")()
	})
}

// TestReadsThatWaitWhenTheirCallerProvesSlowRunOneAtATime has many reads at once: when the first ones prove slow, the
// others wait already.
func TestReadsThatWaitWhenTheirCallerProvesSlowRunOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewReadShare(10)
		var running, most atomic.Int32
		var reads sync.WaitGroup
		for range 40 {
			reads.Go(func() {
				leave, err := share.Enter(asUser(t, "slow"), "orders")
				if err != nil {
					t.Error(err)
					return
				}
				if now := running.Add(1); now > most.Load() {
					most.Store(now)
				}
				<-time.After(2 * slowRead)
				running.Add(-1)
				leave()
			})
		}
		<-time.After(slowRead)
		synctest.Wait()
		if most.Load() != 4 {
			t.Errorf("%d reads ran before one proved slow, expected 4", most.Load())
		}
		<-time.After(slowRead)
		synctest.Wait()
		most.Store(0)
		reads.Wait()
		if most.Load() != 1 {
			t.Errorf("%d reads ran at a time after the first ones proved slow, expected 1", most.Load())
		}
	})
}

// Reads of others can make one read slow that is quick by itself.
func TestACallerWithOneSlowReadIsNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewReadShare(10)
		for range 2 { // the first one no longer counts when the second one ends
			leave := enters(t, share, "modest", "orders")
			<-time.After(slowReads - 1)
			leave()
			var all []func()
			for range 4 {
				all = append(all, enters(t, share, "modest", "orders"))
			}
			for _, leave := range all {
				leave()
			}
			<-time.After(slowReaderFor)
		}
	})
}

func TestACallerWithSlowReadsGetsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewReadShare(10)
		slow := enters(t, share, "slow", "orders")
		<-time.After(slowReads)
		slow()
		first := enters(t, share, "slow", "orders")
		second := waits(t, asUser(t, "slow"), share, "users")
		// All callers with slow reads get a quarter of the pool, and the other callers are not affected.
		other := enters(t, share, "other", "users")
		<-time.After(slowReads)
		other()
		other = enters(t, share, "other", "users")
		for range 3 {
			defer enters(t, share, "modest", "orders")()
		}
		first()
		(<-second)()
		other()
		<-time.After(slowReaderFor)
		for range 4 { // the reads of "slow" that ended last were not slow, after the first
			defer enters(t, share, "slow", "users")()
		}
	})
}
