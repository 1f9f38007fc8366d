package groupcommit

import (
	"context"
	"fmt"
)

// Close refuses new calls with ErrClosed and waits until queued and flushing calls are answered. If ctx ends first, it
// cancels: queued calls get ErrClosed, the context of the flush ends and nothing is retried. Close then returns an
// error that wraps context.Cause(ctx), without waiting for the flush. It may be called several times, also
// concurrently.
func (b *Batcher[Request, Result]) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.refusal == nil {
		b.refusal = ErrClosed
	}
	if !b.busy {
		b.mu.Unlock()
		return nil
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()

	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	if b.cutShort() {
		return fmt.Errorf("groupcommit: closed before all calls were answered: %w", context.Cause(ctx))
	}
	return nil
}

// cutShort cancels the queued calls and the flush; it returns whether there were any.
func (b *Batcher[Request, Result]) cutShort() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.busy {
		return false
	}
	b.cut = true
	for c := b.queue.first; c != nil; c = b.queue.first {
		b.queue.remove(c)
		c.state, c.err = answered, ErrClosed
		c.done <- struct{}{}
	}
	if b.cancel != nil {
		b.cancel(ErrClosed)
	}
	return true
}

// retire closes a batcher that is at rest, and returns whether it was.
func (b *Batcher[Request, Result]) retire() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return false
	}
	b.refusal = errRetired
	return true
}
