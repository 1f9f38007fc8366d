package groupcommit

import (
	"context"
	"sync"
	"time"
)

// Batcher collects the requests of concurrent calls into flushes, one at a time. Its methods are safe for concurrent use.
type Batcher[Request, Result any] struct {
	key     string
	options Options[Request]
	flush   func(ctx context.Context, batch []Request) ([]Result, error)
	calls   sync.Pool // of *call: what a Do would otherwise allocate

	mu      sync.Mutex
	queue   queue[Request, Result]
	busy    bool                    // somebody flushes; at rest the queue is empty
	live    int                     // how many callers wait for what is being sent
	cancel  context.CancelCauseFunc // ends the context of what is being sent
	refusal error                   // what Do answers once the batcher is closed
	cut     bool                    // Close stopped waiting
	rest    chan struct{}           // closed when a closed batcher comes to rest; made by Close

	// Whoever set busy has these to itself.
	batch    []*call[Request, Result] // what was taken; answered ones are nil
	woken    []*call[Request, Result] // answered under the mutex, told of it after
	requests []Request
	failing  time.Time // since when failures are transient without a break
	report   Flush
	sent     int
}

// New makes a Batcher, at rest. flush gets 1 to MaxRequests requests and answers a result for each, in their order. It must
// return soon after its context ended, must not keep batch once it has returned, and must bear that a request is sent
// again after it failed.
func New[Request, Result any](options Options[Request], flush func(ctx context.Context, batch []Request) ([]Result, error)) *Batcher[Request, Result] {
	return &Batcher[Request, Result]{options: options.withDefaults(), flush: flush}
}

// Do has request flushed and answers its result. Errors: context.Cause(ctx) if ctx ends first (wrapped with the last
// failure if the flush was being sent again), ErrQueueFull, ErrClosed, a *PanicError, or what the flush failed with.
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

// enter queues the call, or makes it the batch of a batcher at rest, which its caller then has to run.
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

// leave takes a caller away whose context has ended, and answers the error it gets. Who is answered already does not leave.
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
