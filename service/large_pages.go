package service

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// savingLasts is how long after a save large pages are limited: a client that saves one event after the other begins the next one before.
	savingLasts = 20 * time.Millisecond
	// largePageLasts bounds how long a page that takes long, as without an index, keeps the others waiting.
	largePageLasts = 50 * time.Millisecond
)

// largePageLimiter leaves processors to saves. A page of 1,000 events takes as much of them as several saves, and a few clients that read page
// after page would leave almost nothing to saves. While there are saves, half as many large pages are read at once as there are processors; at
// other times there is no limit. It is safe for concurrent use.
type largePageLimiter struct {
	began time.Time
	saved atomic.Int64 // when a save was flushed last, in nanoseconds after began; 0 for never
	slots chan struct{}
}

func newLargePageLimiter() *largePageLimiter {
	return &largePageLimiter{began: time.Now(), slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// noteSave notes that a save begins or ends.
func (l *largePageLimiter) noteSave() { l.saved.Store(int64(time.Since(l.began))) }

// enter waits until a large page may be read, until leave. Its error is that of ctx.
func (l *largePageLimiter) enter(ctx context.Context) (leave func(), err error) {
	saved := l.saved.Load()
	if saved == 0 || int64(time.Since(l.began))-saved > int64(savingLasts) {
		return func() {}, nil
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release := sync.OnceFunc(func() { <-l.slots })
	timer := time.AfterFunc(largePageLasts, release)
	return func() {
		timer.Stop()
		release()
	}, nil
}
