package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrQueueFull says that MaxQueue or MaxQueueBytes is reached. The request was not sent; try again after a flush or
	// two.
	ErrQueueFull = errors.New("groupcommit: the queue is full: try again later")
	// ErrClosed says that Close was called. Alone, it means that the request was not sent. Wrapped in an error that
	// also has a failure, it means that the request was sent and its outcome is unknown.
	ErrClosed = errors.New("groupcommit: closed")

	// errRetired says that a Group dropped this idle batcher. The request was not sent; the group has another batcher.
	errRetired = errors.New("groupcommit: the batcher was dropped by its group")
	// errAbandoned is for callers whose flush ended its goroutine instead of returning (runtime.Goexit).
	errAbandoned = errors.New("groupcommit: the flush ended its goroutine without an answer")
)

// PanicError is what callers get when their flush panics. Value is the argument of the panic, Stack its stack trace.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("groupcommit: the flush panicked: %v", e.Value)
}

// Unwrap is the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, ok := e.Value.(error)
	if !ok {
		return nil
	}
	return err
}

// endedError is for a caller whose context ended. last is the transient failure for which it waited, or nil.
func endedError(ctx context.Context, last error) error {
	if last == nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w while the flush was retried; it failed last with: %w", context.Cause(ctx), last)
}

// cutError is for a caller for whose flush Close did not wait. last is the failure that left its outcome unknown, or
// nil.
func cutError(last error) error {
	if last == nil {
		return ErrClosed
	}
	return fmt.Errorf("%w before the flush succeeded; it failed last with: %w", ErrClosed, last)
}

func gaveUpError(after time.Duration, last error) error {
	return fmt.Errorf("groupcommit: gave up after %s of failures; set a deadline to have the request sent for longer: %w",
		after.Round(time.Millisecond), last)
}

func countError(results, requests int) error {
	return fmt.Errorf("groupcommit: the flush answered %d results to %d requests", results, requests)
}
