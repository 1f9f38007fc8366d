package groupcommit

import (
	"context"
	"iter"
	"time"
)

// The defaults of Options.
const (
	// DefaultMaxRequests shares the cost of a flush among so many that what is left is that of the requests themselves,
	// and keeps the first of them from waiting long for the last.
	DefaultMaxRequests = 512
	// DefaultMaxItems is how many make what a transaction costs by itself small beside them. More would keep those behind it waiting, and make what it holds
	// visible later.
	DefaultMaxItems = 1_000
	// DefaultMaxBytes is twice the 4 MiB that gRPC receives unless told otherwise, so that any such request fits in company.
	DefaultMaxBytes = 8 << 20
	// DefaultMaxQueue is eight full batches: whoever would wait for more flushes than that had better try later.
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
	// Size tells the items (events, rows) and bytes of a request. It is called once for each, by its caller. nil counts
	// every request as one item of no bytes.
	Size func(request Request) (items, bytes int)

	// IsTransient tells that the same flush may succeed later: a broken connection, an unknown outcome, a server that
	// restarts. After any other failure a flush of several requests is split. nil: no failure is transient.
	IsTransient func(err error) bool
	// MaxTransient is for how long after the first of a row of transient failures the requests of callers without a deadline are
	// sent again. Those with a deadline are sent until it passes.
	MaxTransient time.Duration

	// Observe is told of every flush after its callers are answered and before the next one begins. nil: nobody is.
	Observe func(Flush)
	// Trace is told of every sending, before the flush is called: of the context the flush would get, the key of the Batcher, and each caller's context
	// with the time it came, in the order of the batch. callers must not be kept. The flush gets the context that Trace returns, which
	// has to descend from that one; what else it returns is called with the flush's error when the flush has returned. nil: nobody is.
	Trace func(ctx context.Context, key string, callers iter.Seq2[context.Context, time.Time]) (context.Context, func(error))
}

// Flush is what became of one batch.
type Flush struct {
	// Key is that of the Batcher in its Group, "" outside of one.
	Key string
	// Requests, Items and Bytes are what was taken from the queue.
	Requests, Items, Bytes int
	// Waited is the longest that one of the requests was queued.
	Waited time.Duration
	// Took is the time from the first sending to the last answer, delays between them included.
	Took time.Duration
	// Retries counts how often the batch was sent again: whole after a transient failure, or a part of it after any other.
	Retries int
	// Err is the last error of the flush that a caller got for its answer, nil if it failed nobody. The end of a caller's
	// context is no failure.
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
