package groupcommit

import (
	"context"
	"sync"
	"time"
)

// Batcher combines the requests of concurrent calls into flushes, one at a time. Its methods are safe for concurrent
// use.
type Batcher[Request, Result any] struct {
	key     string
	options Options[Request]
	flush   func(ctx context.Context, batch []Request) ([]Result, error)
	calls   sync.Pool // of *call, which Do would otherwise allocate

	mu      sync.Mutex
	queue   queue[Request, Result]
	busy    bool                    // a caller flushes; at rest the queue is empty
	live    int                     // how many callers wait for the requests in the flush
	cancel  context.CancelCauseFunc // ends the context of the flush
	refusal error                   // what Do returns once the batcher is closed
	cut     bool                    // Close stopped waiting
	idle    chan struct{}           // closed when a closed batcher comes to rest; made by Close

	// The caller that set busy owns the following fields.
	batch    []*call[Request, Result] // the calls of the flush; answered ones are nil
	woken    []*call[Request, Result] // answered under the mutex, woken after it
	requests []Request
	failing  time.Time // since when all failures have been transient
	report   Flush
	sent     int
}

// New makes a Batcher, at rest. flush gets 1 to MaxRequests requests and returns a result for each, in their order. It
// must return soon after its context has ended, and must not use batch after it has returned. Requests must be
// idempotent: they are retried after failures.
func New[Request, Result any](
	options Options[Request], flush func(ctx context.Context, batch []Request) ([]Result, error),
) *Batcher[Request, Result] {
	return &Batcher[Request, Result]{options: options.withDefaults(), flush: flush}
}

// Do has request flushed and returns its result. Errors: context.Cause(ctx) if ctx ends first (wrapped with the last
// failure if the flush was retried), ErrQueueFull, ErrClosed, a *PanicError, or the error of the flush.
func (b *Batcher[Request, Result]) Do(ctx context.Context, request Request) (Result, error) {
	var none Result
	c := b.newCall(ctx, request)
	alone, err := b.enter(c)
	if err != nil {
		b.recycle(c)
		return none, err
	}
	if alone {
		b.run()
		<-c.done
	} else {
		select {
		case <-c.done:
		case <-ctx.Done():
			if left, err := b.leave(c); left {
				return none, err
			}
			<-c.done
		}
	}
	result, err := c.result, c.err
	b.recycle(c)
	return result, err
}

// enter queues the call. If the batcher is at rest, the call becomes its batch, and the caller has to run it.
func (b *Batcher[Request, Result]) enter(c *call[Request, Result]) (alone bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.refusal != nil:
		return false, b.refusal
	case !b.busy:
		b.busy = true
		c.state = taken
		b.batch = append(b.batch[:0], c)
		return true, nil
	case b.queue.requests >= b.options.MaxQueue, b.queue.requests > 0 && b.queue.bytes+c.bytes > b.options.MaxQueueBytes:
		return false, ErrQueueFull
	default:
		b.queue.push(c)
		return false, nil
	}
}

// leave removes a call whose context has ended, and returns its error. A call that is answered already is not removed.
func (b *Batcher[Request, Result]) leave(c *call[Request, Result]) (left bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.state == answered {
		return false, nil
	}
	err = endedError(c.ctx, c.err)
	switch c.state {
	case queued:
		b.queue.remove(c)
		b.recycle(c)
		return true, err
	case sending:
		if b.live--; b.live == 0 {
			b.cancel(context.Cause(c.ctx))
		}
	}
	c.state = gone
	return true, err
}

func (b *Batcher[Request, Result]) newCall(ctx context.Context, request Request) *call[Request, Result] {
	c, ok := b.calls.Get().(*call[Request, Result])
	if !ok {
		c = &call[Request, Result]{done: make(chan struct{}, 1)}
	}
	c.ctx, c.request = ctx, request
	c.items, c.bytes = b.options.Size(request)
	if b.options.Observe != nil || b.options.Trace != nil {
		c.since = time.Now()
	}
	return c
}

func (b *Batcher[Request, Result]) recycle(c *call[Request, Result]) {
	*c = call[Request, Result]{done: c.done}
	b.calls.Put(c)
}
