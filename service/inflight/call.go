package inflight

import (
	"context"
	"errors"

	"google.golang.org/grpc/status"
)

// Call is what one call holds. A nil Call has no limit. Its methods are safe for concurrent use.
type Call struct {
	budget  *Budget
	account *account
	factor  int64

	// The budget's mutex guards the following fields.
	held     int64 // ended once the call has ended
	expected int64 // the part of held that is reserved for the growth of an answer
}

const (
	ended = -1
	// growAgain is how many times as much as was refused an answer may take when it is built again.
	growAgain = 4
)

// Enter counts a call of a caller until its End. Each byte of its messages counts as factor bytes. It waits for room;
// its error is a gRPC status.
func (b *Budget) Enter(ctx context.Context, caller string, factor int64) (*Call, error) {
	b.mu.Lock()
	a := b.account(caller)
	if err := b.acquire(ctx, a, callBytes, startShare); err != nil {
		return nil, err
	}
	return &Call{budget: b, account: a, factor: factor, held: callBytes}, nil
}

// Receive counts bytes of a request that will be received. It waits for room.
func (c *Call) Receive(ctx context.Context, bytes int) error {
	if c == nil {
		return nil
	}
	more := int64(bytes) * c.factor
	c.budget.mu.Lock()
	if err := c.budget.acquire(ctx, c.account, more, 1); err != nil {
		return err
	}
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	c.keep(more)
	return nil
}

// noRoomError is the refusal of an answer that grows beyond its caller's share.
type noRoomError struct {
	error
	held int64 // by the call
}

// GRPCStatus is what the caller gets.
func (n *noRoomError) GRPCStatus() *status.Status { return status.Convert(n.error) }

// Grow counts bytes of an answer that is built, or of a request that is decompressed. It does not wait, since the call
// may hold bytes that others wait for. After an error, the code that builds the answer drops it. It builds the answer
// again if Again returns true.
func (c *Call) Grow(bytes int) error {
	if c == nil || bytes == 0 {
		return nil
	}
	more := int64(bytes) * c.factor
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if c.held == ended {
		return context.Canceled
	}
	if c.expected >= more {
		c.expected -= more
		return nil
	}
	more -= c.expected
	if !c.budget.fits(c.account, more, 1) {
		return &noRoomError{c.budget.refusal(c.account, more), c.held + more}
	}
	c.expected = 0
	c.budget.take(c.account, more)
	c.held += more
	return nil
}

// Again returns whether an answer that was refused with err can be built again. It returns the bytes that the call took
// for the answer, and waits for room for one that is several times as large.
func (c *Call) Again(ctx context.Context, err error) bool {
	var refused *noRoomError
	if c == nil || !errors.As(err, &refused) {
		return false
	}
	c.budget.mu.Lock()
	if c.held == ended {
		c.budget.mu.Unlock()
		return false
	}
	more := min(growAgain*refused.held, c.budget.limit/3)
	c.budget.give(c.account, c.held-callBytes)
	c.held, c.expected = callBytes, 0
	if c.budget.acquire(ctx, c.account, more, 1) != nil {
		return false
	}
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	c.keep(more)
	c.expected = more
	return true
}

// keep adds bytes that were taken to those that the call holds, or returns them if the call has ended.
func (c *Call) keep(bytes int64) {
	if c.held == ended {
		c.budget.give(c.account, bytes)
		return
	}
	c.held += bytes
}

// End returns what the call holds.
func (c *Call) End() {
	if c == nil {
		return
	}
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if c.held != ended {
		c.budget.give(c.account, c.held)
		c.held = ended
	}
}

type callKey struct{}

// NewContext returns a context that carries a call.
func NewContext(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// FromContext returns the call of a context; nil if there is none.
func FromContext(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}
