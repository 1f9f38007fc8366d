// Package inflight bounds the bytes that calls hold in memory: requests that are received, answers that are built, and
// answers that clients have not read yet.
//
// All callers share one Budget. A caller may hold as many bytes as are left free for the others:
//
//	held by the caller ≤ limit - held by all
//
// So one caller alone gets half of the budget, two that use all they can get a third each, and there is always room for
// one more. A caller that has used up its share waits before a request is received. An answer that grows beyond the
// share is refused.
//
// A request counts from the first byte of its message to the end of its call. An answer counts until the transport has
// written it, or until its connection is gone.
package inflight

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// callBytes is what each call counts in addition to its messages: a goroutine, its stream and its headers.
	callBytes = 8 << 10
	// startShare divides a caller's share: calls may start while it holds less than that part. The rest is for the
	// answers of calls that have started.
	startShare = 2
	// maxWaiting is how many calls of a caller may wait for room.
	maxWaiting = 1000
	// waitLimit is how long a call waits for room.
	waitLimit = 10 * time.Second
	// retryAfter is the delay that a refusal suggests before a retry.
	retryAfter = time.Second
)

// Budget is the bytes that all calls together may hold. It is safe for concurrent use.
type Budget struct {
	limit    int64
	variable string

	mu      sync.Mutex
	used    int64
	callers map[string]*account
	blocked map[*account]struct{} // those with calls that wait
}

// account is what one caller holds. The budget's mutex guards it.
type account struct {
	name    string
	used    int64
	waiting []*waiter
}

// waiter is a call that waits for room.
type waiter struct {
	bytes int64
	share int64
	ready chan struct{}
}

// NewBudget returns a budget of limit bytes. Refusals name the variable that sets it.
func NewBudget(limit int64, variable string) *Budget {
	return &Budget{
		limit: limit, variable: variable, callers: make(map[string]*account), blocked: make(map[*account]struct{}),
	}
}

// Used is what all calls hold now.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// fits returns whether a caller may hold so many bytes more. share 1 is its whole share, 2 is half of it.
func (b *Budget) fits(a *account, bytes, share int64) bool {
	return share*(a.used+bytes) <= b.limit-b.used-bytes
}

// take counts bytes without a check.
func (b *Budget) take(a *account, bytes int64) {
	a.used += bytes
	b.used += bytes
}

// give returns bytes, and starts calls that waited for them.
func (b *Budget) give(a *account, bytes int64) {
	a.used -= bytes
	b.used -= bytes
	for blocked := range b.blocked {
		for len(blocked.waiting) > 0 && b.fits(blocked, blocked.waiting[0].bytes, blocked.waiting[0].share) {
			first := blocked.waiting[0]
			b.take(blocked, first.bytes)
			blocked.waiting = blocked.waiting[1:]
			close(first.ready)
		}
		b.forget(blocked)
	}
	b.forget(a)
}

// forget drops an account that holds nothing and has no waiting calls.
func (b *Budget) forget(a *account) {
	if len(a.waiting) == 0 {
		delete(b.blocked, a)
		if a.used == 0 {
			delete(b.callers, a.name)
		}
	}
}

// account returns the account of a caller.
func (b *Budget) account(caller string) *account {
	a := b.callers[caller]
	if a == nil {
		a = &account{name: caller}
		b.callers[caller] = a
	}
	return a
}

// acquire takes bytes for a caller if they fit, or waits for them. The mutex must be locked when it is called; it is
// unlocked when it returns.
func (b *Budget) acquire(ctx context.Context, a *account, bytes, share int64) error {
	if len(a.waiting) == 0 && b.fits(a, bytes, share) {
		b.take(a, bytes)
		b.mu.Unlock()
		return nil
	}
	if len(a.waiting) >= maxWaiting || !b.couldFit(bytes) {
		err := b.refusal(a, bytes)
		b.forget(a)
		b.mu.Unlock()
		return err
	}
	w := &waiter{bytes, share, make(chan struct{})}
	a.waiting = append(a.waiting, w)
	b.blocked[a] = struct{}{}
	b.mu.Unlock()

	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range a.waiting {
		if other == w {
			a.waiting = append(a.waiting[:i:i], a.waiting[i+1:]...)
			err := b.refusal(a, bytes)
			if ctx.Err() != nil {
				err = status.FromContextError(ctx.Err()).Err()
			}
			b.give(a, 0) // calls behind it may fit
			return err
		}
	}
	return nil // it became ready meanwhile
}

// couldFit returns whether bytes fit while no other call holds any.
func (b *Budget) couldFit(bytes int64) bool { return 2*bytes <= b.limit }

func (b *Budget) refusal(a *account, bytes int64) error {
	s := status.New(codes.ResourceExhausted, fmt.Sprintf(
		"%s holds %d bytes of requests and answers in flight, and %d more do not fit: all calls together may hold %d (%s), "+
			"and one caller as many as are left to the others; "+
			"read answers that are under way, make smaller requests, read smaller pages, or try again",
		a.name, a.used, bytes, b.limit, b.variable))
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}); err == nil {
		s = detailed
	}
	return s.Err()
}
