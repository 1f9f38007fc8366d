package groupcommit

import (
	"context"
	"time"
)

// begin takes those out of the piece that wait no longer and opens a context that lasts as long as one of the others does.
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

// end closes the context that begin opened, and takes those out of the piece that are gone or that answer, given their index
// in the piece, has an answer for.
func (b *Batcher[Request, Result]) end(piece []*call[Request, Result], answer func(int, *call[Request, Result]) bool) []*call[Request, Result] {
	b.mu.Lock()
	cancel := b.cancel
	b.cancel = nil
	piece = b.sift(piece, answer)
	b.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
	b.wake()
	clear(b.requests) // not earlier: a flush may answer with the slice it got
	b.requests = b.requests[:0]
	return piece
}

// sift keeps the calls that still have to be sent at the front of the piece, in their order.
func (b *Batcher[Request, Result]) sift(piece []*call[Request, Result], answer func(int, *call[Request, Result]) bool) []*call[Request, Result] {
	kept := piece[:0]
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
			kept = append(kept, c)
		}
	}
	clear(piece[len(kept):])
	return kept
}

// wake tells the answered. It is done outside the mutex, because waking hundreds takes long enough to hold up those who enter.
func (b *Batcher[Request, Result]) wake() {
	for _, c := range b.woken {
		c.done <- struct{}{}
	}
	clear(b.woken)
	b.woken = b.woken[:0]
}

// over answers a call that must not be sent (again): its context has ended though its caller does not know it yet, or Close
// stopped waiting.
func (b *Batcher[Request, Result]) over(_ int, c *call[Request, Result]) bool {
	return b.overAfter(c, c.err)
}

// overAfter is over for a call whose sending just failed with what leaves its outcome unknown.
func (b *Batcher[Request, Result]) overAfter(c *call[Request, Result], failure error) bool {
	switch {
	case c.ctx.Err() != nil:
		c.err = endedError(c.ctx, c.err) // not failure, which is but the end of the same context
	case b.cut:
		c.err = cutError(failure)
		b.report.Err = c.err
	default:
		return false
	}
	return true
}

// contextOf is what the context of a piece descends from. A lone caller's own context serves: it ends when the caller goes.
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

// sharedContext tells the latest deadline of several callers. It needs no timer: when that moment comes, the last caller
// leaves, and that ends the context.
type sharedContext struct {
	context.Context
	deadline time.Time
}

// Deadline is the zero time, false, if one of the callers has none.
func (c *sharedContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }
