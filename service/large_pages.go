package service

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// savingLasts is how long after a save large pages are limited: a client that saves in a loop begins its next save
	// within that time.
	savingLasts = 20 * time.Millisecond
	// largePageLasts bounds how long a slow page, such as one without an index, delays the others.
	largePageLasts = 50 * time.Millisecond
)

// largePageLimiter reserves processors for saves. A page of 1,000 events needs as much processor time as several saves.
// A few clients that read page after page would leave almost nothing to saves. While there are saves, the number of
// large pages read at once is half the number of processors. Otherwise there is no limit. It is safe for concurrent
// use.
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

// enter waits until a large page may be read. Call leave when it is read. The error is the cause of ctx.
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
