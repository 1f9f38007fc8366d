package groupcommit

import (
	"context"
	"time"
)

// begin removes calls that no longer wait from the piece, and opens a context that lasts as long as one of the others'.
func (b *Batcher[Request, Result]) begin(piece []*call[Request, Result]) (context.Context, []*call[Request, Result]) {
	b.mu.Lock()
	piece = b.sift(piece, b.over)
	var ctx context.Context
	if len(piece) > 0 {
		ctx, b.cancel = context.WithCancelCause(contextOf(piece))
		b.live = len(piece)
		for _, c := range piece {
			c.state = sending
		}
	}
	b.mu.Unlock()
	b.wake()
	return ctx, piece
}

// end closes the context that begin opened. It removes the calls that are gone, and those for which answer, given their
// index in the piece, has an answer.
func (b *Batcher[Request, Result]) end(
	piece []*call[Request, Result], answer func(int, *call[Request, Result]) bool,
) []*call[Request, Result] {
	b.mu.Lock()
	cancel := b.cancel
	b.cancel = nil
	piece = b.sift(piece, answer)
	b.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
	b.wake()
	clear(b.requests) // not earlier: a flush may return the slice that it got
	b.requests = b.requests[:0]
	return piece
}

// sift moves the calls that are still to be sent to the front of the piece, in their order.
func (b *Batcher[Request, Result]) sift(
	piece []*call[Request, Result], answer func(int, *call[Request, Result]) bool,
) []*call[Request, Result] {
	remaining := piece[:0]
	for i, c := range piece {
		switch {
		case c == nil:
		case c.state == gone:
			b.recycle(c)
		case answer(i, c):
			c.state = answered
			b.woken = append(b.woken, c)
		default:
			c.state = taken
			remaining = append(remaining, c)
		}
	}
	clear(piece[len(remaining):])
	return remaining
}

// wake wakes the callers that were answered. It runs outside the mutex, because waking hundreds would delay new calls.
func (b *Batcher[Request, Result]) wake() {
	for _, c := range b.woken {
		c.done <- struct{}{}
	}
	clear(b.woken)
	b.woken = b.woken[:0]
}

// over answers a call that must not be sent (or retried): its context has ended but its caller has not left yet, or
// Close stopped waiting.
func (b *Batcher[Request, Result]) over(_ int, c *call[Request, Result]) bool {
	return b.overAfter(c, c.err)
}

// overAfter is over for a call that was just sent, with a failure that leaves its outcome unknown.
func (b *Batcher[Request, Result]) overAfter(c *call[Request, Result], failure error) bool {
	switch {
	case c.ctx.Err() != nil:
		c.err = endedError(c.ctx, c.err) // not failure, which only reports the end of the same context
	case b.cut:
		c.err = cutError(failure)
		b.report.Err = c.err
	default:
		return false
	}
	return true
}

// contextOf is the parent of the context of a piece. A lone caller's own context is used: it ends when the caller
// leaves.
func contextOf[Request, Result any](piece []*call[Request, Result]) context.Context {
	if len(piece) == 1 {
		return piece[0].ctx
	}
	shared := sharedContext{Context: context.WithoutCancel(piece[0].ctx)}
	for _, c := range piece {
		deadline, ok := c.ctx.Deadline()
		if !ok {
			shared.deadline = time.Time{}
			break
		}
		if deadline.After(shared.deadline) {
			shared.deadline = deadline
		}
	}
	return &shared
}

// sharedContext has the latest deadline of several callers. It needs no timer: at that moment the last caller leaves,
// and that ends the context.
type sharedContext struct {
	context.Context
	deadline time.Time
}

// Deadline is the zero time and false if one of the callers has no deadline.
func (c *sharedContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }
