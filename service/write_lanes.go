package service

import (
	"context"
	"errors"
	"sync"
	"time"
)

// slowFlush is the duration from which on a flush counts as slow.
const slowFlush = 500 * time.Millisecond

// writeLanes divide the connections of the write pool among boundaries, so that slow ones do not delay the others. At
// most half of the connections serve flushes that have taken longer than slowFlush. A flush that becomes slow while
// that half is in use is cancelled and retried once there is room, which is safe as saves are idempotent. The flushes
// of a boundary whose last one was slow begin in the slow half.
type writeLanes struct {
	all, slow chan struct{}
	limit     time.Duration // slowFlush, except in tests
	slowest   sync.Map      // boundaries whose last flush was slow
}

// errOvertaken cancels a flush that became slow while too many others are.
var errOvertaken = errors.New("the flush releases its connection to other boundaries, and is retried")

func newWriteLanes(connections int) *writeLanes {
	connections = max(1, connections)
	return &writeLanes{make(chan struct{}, connections), make(chan struct{}, max(1, connections/2)), slowFlush, sync.Map{}}
}

// run calls flush when there is a connection for it. known says that the boundary exists: other names are not stored.
func (l *writeLanes) run(ctx context.Context, boundary string, known bool, flush func(context.Context) error) error {
	if _, slow := l.slowest.Load(boundary); !slow {
		err := l.runQuick(ctx, boundary, known, flush)
		if !errors.Is(err, errOvertaken) {
			return err
		}
	}
	if err := take(ctx, l.slow); err != nil {
		return err
	}
	defer func() { <-l.slow }()
	if err := take(ctx, l.all); err != nil {
		return err
	}
	defer func() { <-l.all }()
	begun := time.Now()
	err := flush(ctx)
	if time.Since(begun) < l.limit {
		l.slowest.Delete(boundary)
	}
	return err
}

// runQuick returns errOvertaken for a flush that is to be retried in the slow half.
func (l *writeLanes) runQuick(
	ctx context.Context, boundary string, known bool, flush func(context.Context) error,
) error {
	if err := take(ctx, l.all); err != nil {
		return err
	}
	defer func() { <-l.all }()
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	decided := make(chan struct{})
	counts := false
	timer := time.AfterFunc(l.limit, func() {
		defer close(decided)
		if known {
			l.slowest.Store(boundary, nil)
		}
		select {
		case l.slow <- struct{}{}:
			counts = true
		default:
			cancel(errOvertaken)
		}
	})
	err := flush(limited)
	if timer.Stop() {
		return err
	}
	<-decided
	if counts {
		<-l.slow
	}
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(limited), errOvertaken) {
		return errOvertaken
	}
	return err
}

func take(ctx context.Context, from chan struct{}) error {
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
