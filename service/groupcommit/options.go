package groupcommit

import (
	"context"
	"iter"
	"time"
)

// The defaults of Options.
const (
	// DefaultMaxRequests is so many that the cost of a flush per request is small beside the request's own cost, and
	// few enough that the first request does not wait long for the last.
	DefaultMaxRequests = 512
	// DefaultMaxItems is so many that the cost of a transaction is small beside that of its items. More would delay the
	// requests behind it, and make its items visible later.
	DefaultMaxItems = 1_000
	// DefaultMaxBytes is twice the 4 MiB that gRPC receives by default, so that any such request fits into a shared
	// batch.
	DefaultMaxBytes = 8 << 20
	// DefaultMaxQueue is eight full batches: a call that would wait for more flushes should be retried later.
	DefaultMaxQueue = 8 * DefaultMaxRequests
	// DefaultMaxQueueBytes is eight full batches as well.
	DefaultMaxQueueBytes = 8 * DefaultMaxBytes
	// DefaultMaxTransient outlasts the seconds that a database takes to restart or to fail over.
	DefaultMaxTransient = 30 * time.Second
)

// Options bound a Batcher. A number that is not positive stands for its default. The functions are called by many
// goroutines, must be quick and must not panic.
type Options[Request any] struct {
	// MaxRequests, MaxItems and MaxBytes cap a flush. A single request beyond a cap is flushed alone.
	MaxRequests, MaxItems, MaxBytes int
	// MaxQueue and MaxQueueBytes bound what waits behind the flush in flight. An empty queue takes any request, however
	// large, because it would fit at no other time either.
	MaxQueue, MaxQueueBytes int
	// Size returns the items (events, rows) and bytes of a request. It is called once for each request, by its caller.
	// nil counts every request as one item of no bytes.
	Size func(request Request) (items, bytes int)

	// IsTransient returns whether the same flush may succeed later: a broken connection, an unknown outcome, a server
	// that restarts. After any other failure a flush of several requests is split. nil: no failure is transient.
	IsTransient func(err error) bool
	// MaxTransient is how long after the first of consecutive transient failures the requests of callers without a
	// deadline are retried. Requests with a deadline are retried until it passes.
	MaxTransient time.Duration

	// Observe is called after every flush, when its callers are answered and before the next one begins. nil: not
	// called.
	Observe func(Flush)
	// Trace is called before every call of the flush, retries included. It gets the context for the flush, the key of
	// the Batcher, and the context and arrival time of each caller in the order of the batch. callers is invalid after
	// Trace has returned. The flush gets the context that Trace returns, which must descend from the given one. The
	// function that Trace returns is called with the flush's error when the flush has returned. nil: not called.
	Trace func(ctx context.Context, key string, callers iter.Seq2[context.Context, time.Time]) (context.Context,
		func(error))
}

// Flush is the report on one batch.
type Flush struct {
	// Key is that of the Batcher in its Group, "" outside of one.
	Key string
	// Requests, Items and Bytes are the size of the batch as it was taken from the queue.
	Requests, Items, Bytes int
	// Waited is the longest that one of the requests was queued.
	Waited time.Duration
	// Took is the time from the first call of the flush to the last answer, delays between retries included.
	Took time.Duration
	// Retries counts retries: of the whole batch after a transient failure, or of a part of it after any other.
	Retries int
	// Err is the last error of the flush that was returned to a caller, nil if there was none. The end of a caller's
	// context is not counted as a failure.
	Err error
}

func (o Options[Request]) withDefaults() Options[Request] {
	positive(&o.MaxRequests, DefaultMaxRequests)
	positive(&o.MaxItems, DefaultMaxItems)
	positive(&o.MaxBytes, DefaultMaxBytes)
	positive(&o.MaxQueue, DefaultMaxQueue)
	positive(&o.MaxQueueBytes, DefaultMaxQueueBytes)
	positive(&o.MaxTransient, DefaultMaxTransient)
	if o.Size == nil {
		o.Size = func(Request) (items, bytes int) { return 1, 0 }
	}
	if o.IsTransient == nil {
		o.IsTransient = never
	}
	return o
}

func positive[N int | time.Duration](n *N, otherwise N) {
	if *n <= 0 {
		*n = otherwise
	}
}

func never(error) bool { return false }
