package groupcommit

import (
	"context"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// The delay before a retry after a transient failure doubles from firstDelay to lastDelay. 10 ms hides a dropped
// connection from callers; 250 ms is four attempts a second at a server that starts.
const (
	firstDelay = 10 * time.Millisecond
	lastDelay  = 250 * time.Millisecond
)

// run flushes the batch and hands on, even if a function of the options panics or the flush ends its goroutine. In that
// case callers without an answer get an error instead of waiting forever.
func (b *Batcher[Request, Result]) run() {
	defer b.handOn()
	b.failing, b.sent = time.Time{}, 0
	if b.options.Observe == nil {
		b.settle(b.batch)
		return
	}
	started := time.Now()
	b.report = Flush{Key: b.key, Requests: len(b.batch), Waited: started.Sub(b.batch[0].since)}
	for _, c := range b.batch {
		b.report.Items += c.items
		b.report.Bytes += c.bytes
	}
	b.settle(b.batch)
	if b.sent > 0 {
		b.report.Took, b.report.Retries = time.Since(started), b.sent-1
		b.options.Observe(b.report)
	}
}

// handOn starts the next flush if calls are queued. Otherwise the batcher comes to rest.
func (b *Batcher[Request, Result]) handOn() {
	b.end(b.batch, func(_ int, c *call[Request, Result]) bool {
		c.err = errAbandoned
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.take() {
		go b.run()
		return
	}
	b.busy = false
	if b.refusal != nil && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// take moves calls for one flush from the front of the queue to the batch: at least one, if there is any.
func (b *Batcher[Request, Result]) take() bool {
	b.batch = b.batch[:0]
	items, bytes := 0, 0
	for c := b.queue.first; c != nil; c = b.queue.first {
		items += c.items
		bytes += c.bytes
		if n := len(b.batch); n > 0 &&
			(n == b.options.MaxRequests || items > b.options.MaxItems || bytes > b.options.MaxBytes) {
			break
		}
		b.queue.remove(c)
		c.state = taken
		b.batch = append(b.batch, c)
	}
	return len(b.batch) > 0
}

// settle flushes the piece of the batch until each of its calls is answered or gone.
func (b *Batcher[Request, Result]) settle(piece []*call[Request, Result]) {
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		var ctx context.Context
		if ctx, piece = b.begin(piece); len(piece) == 0 {
			return
		}
		results, err := b.send(ctx, piece)
		switch {
		case err == nil:
			b.end(piece, func(i int, c *call[Request, Result]) bool {
				c.result, c.err = results[i], nil
				return true
			})
			b.failing = time.Time{}
			return
		case b.options.IsTransient(err):
			piece = b.pause(b.endTransient(piece, err, delay), delay)
		case len(piece) > 1:
			b.failing = time.Time{}
			piece = b.end(piece, func(_ int, c *call[Request, Result]) bool { return b.overAfter(c, err) })
			half := len(piece) / 2
			b.settle(piece[:half])
			b.settle(piece[half:])
			return
		default:
			b.failing = time.Time{}
			b.end(piece, func(_ int, c *call[Request, Result]) bool {
				if !b.overAfter(c, err) {
					c.err, b.report.Err = err, err
				}
				return true
			})
			return
		}
	}
}

// send calls the flush once.
func (b *Batcher[Request, Result]) send(
	ctx context.Context, piece []*call[Request, Result],
) (results []Result, err error) {
	b.sent++
	for _, c := range piece {
		b.requests = append(b.requests, c.request)
	}
	if b.options.Trace != nil {
		traced, sent := b.options.Trace(ctx, b.key, callers(piece))
		ctx = traced
		defer func() { sent(err) }()
	}
	defer func() {
		if value := recover(); value != nil {
			results, err = nil, &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	results, err = b.flush(ctx, b.requests)
	if err == nil && len(results) != len(piece) {
		err = countError(len(results), len(piece))
	}
	return results, err
}

// callers are the contexts of a piece and the times at which their callers came.
func callers[Request, Result any](piece []*call[Request, Result]) iter.Seq2[context.Context, time.Time] {
	return func(yield func(context.Context, time.Time) bool) {
		for _, c := range piece {
			if !yield(c.ctx, c.since) {
				return
			}
		}
	}
}

// endTransient returns the calls of the piece that are retried after the delay.
func (b *Batcher[Request, Result]) endTransient(
	piece []*call[Request, Result], err error, delay time.Duration,
) []*call[Request, Result] {
	now := time.Now()
	if b.failing.IsZero() {
		b.failing = now
	}
	lasted := now.Sub(b.failing)
	return b.end(piece, func(_ int, c *call[Request, Result]) bool {
		if b.overAfter(c, err) {
			return true
		}
		c.err = err
		if _, bounded := c.ctx.Deadline(); bounded || lasted+delay <= b.options.MaxTransient {
			return false
		}
		c.err, b.report.Err = gaveUpError(lasted, err), err
		return true
	})
}

// pause waits for about the delay, as long as a caller waits for the piece.
func (b *Batcher[Request, Result]) pause(piece []*call[Request, Result], delay time.Duration) []*call[Request, Result] {
	ctx, piece := b.begin(piece)
	if len(piece) == 0 {
		return piece
	}
	timer := time.NewTimer(delay/2 + rand.N(delay/2)) //nolint:gosec // spreads retries, guards no secret
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return b.end(piece, b.over)
}
