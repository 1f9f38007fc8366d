package groupcommit

import (
	"context"
	"errors"
	"sync"
)

// maxIdle is how many batchers a Group has before it drops idle ones. A batcher at rest takes some hundred bytes and
// the buffers of its largest batch. There is a limit because keys may come from callers.
const maxIdle = 1024

// Group has a Batcher for each key, created on first use, so that a slow key does not delay others. It may have more
// than 1,024 idle ones only until the next new key. Its methods are safe for concurrent use.
type Group[Request, Result any] struct {
	options Options[Request]
	flush   func(ctx context.Context, key string, batch []Request) ([]Result, error)

	mu       sync.RWMutex
	batchers map[string]*Batcher[Request, Result]
	sweepAt  int
	closed   bool
}

// NewGroup makes an empty Group. The options, such as the bound on the queue, apply to each key separately. flush is
// that of New, with the key whose requests it gets.
func NewGroup[Request, Result any](
	options Options[Request], flush func(ctx context.Context, key string, batch []Request) ([]Result, error),
) *Group[Request, Result] {
	return &Group[Request, Result]{
		options:  options,
		flush:    flush,
		batchers: make(map[string]*Batcher[Request, Result]),
		sweepAt:  maxIdle,
	}
}

// Do calls the Do of the key's Batcher, and has its errors.
func (g *Group[Request, Result]) Do(ctx context.Context, key string, request Request) (Result, error) {
	for {
		b, err := g.batcher(key)
		if err != nil {
			var none Result
			return none, err
		}
		result, err := b.Do(ctx, request)
		if !errors.Is(err, errRetired) {
			return result, err
		}
	}
}

// Close closes the batchers of all keys at once, each as Batcher.Close does. Errors: those of the batchers, joined.
func (g *Group[Request, Result]) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	errs := make([]error, len(g.batchers))
	var closing sync.WaitGroup
	i := 0
	for _, b := range g.batchers {
		err := &errs[i]
		i++
		closing.Go(func() { *err = b.Close(ctx) })
	}
	g.mu.Unlock()
	closing.Wait()
	return errors.Join(errs...)
}

// Queued returns for each key how many requests wait behind the flush in flight.
func (g *Group[Request, Result]) Queued() map[string]int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	queued := make(map[string]int, len(g.batchers))
	for key, b := range g.batchers {
		b.mu.Lock()
		queued[key] = b.queue.requests
		b.mu.Unlock()
	}
	return queued
}

func (g *Group[Request, Result]) batcher(key string) (*Batcher[Request, Result], error) {
	g.mu.RLock()
	b, ok := g.batchers[key]
	g.mu.RUnlock()
	if ok {
		return b, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.batchers[key]; ok {
		return b, nil
	}
	if g.closed {
		return nil, ErrClosed
	}
	if len(g.batchers) >= g.sweepAt {
		g.sweep()
	}
	b = New(g.options, func(ctx context.Context, batch []Request) ([]Result, error) { return g.flush(ctx, key, batch) })
	b.key = key
	g.batchers[key] = b
	return b, nil
}

// sweep drops the batchers at rest. If most are busy, the next sweep waits until their number has doubled. So the
// average cost of sweeping per new key does not depend on their number.
func (g *Group[Request, Result]) sweep() {
	for key, b := range g.batchers {
		if b.retire() {
			delete(g.batchers, key)
		}
	}
	g.sweepAt = max(maxIdle, 2*len(g.batchers))
}
