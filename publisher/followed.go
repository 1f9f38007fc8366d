package publisher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/db"
)

// followed is a boundary that has subscribers on this node: its ring, the one consumer that fills it, and the poll that finds what
// the stream does not bring.
type followed struct {
	config FeedConfig
	name   string
	log    *slog.Logger

	subscribers int // guarded by the Feed's mutex
	end         context.CancelFunc
	running     sync.WaitGroup
	hints       chan struct{} // of room for one: several hints are one

	mu   sync.RWMutex
	ring ring
	// overdue is a position that PostgreSQL has and the stream did not bring in time.
	overdue position
	// streaming says that a consumer is there; renew ends it, so that another one takes its place.
	streaming bool
	renew     context.CancelFunc
	// changed is closed, and replaced, when the ring's end or overdue moves while somebody waits.
	changed chan struct{}
	waiting int
}

func newFollowed(config FeedConfig, name string) *followed {
	ctx, end := context.WithCancel(context.Background())
	b := &followed{
		config: config, name: name, log: config.Log.With("boundary", name),
		end: end, hints: make(chan struct{}, 1),
		ring: newRing(config.RingEvents, config.RingBytes), overdue: beginning, changed: make(chan struct{}),
	}
	b.running.Go(func() { b.poll(ctx) })
	if config.JetStream != nil {
		b.running.Go(func() { b.consume(ctx) })
	}
	return b
}

// close ends what newFollowed began.
func (b *followed) close() {
	b.end()
	b.running.Wait()
}

func (b *followed) hint() {
	select {
	case b.hints <- struct{}{}:
	default:
	}
}

// next is the entry after a cursor; or a channel that is closed when there may be one, and then the caller has to wait(); or neither, which
// says: ask PostgreSQL. caughtUp says that PostgreSQL had nothing after the cursor.
func (b *followed) next(cursor position, caughtUp bool) (e *entry, changed <-chan struct{}) {
	b.mu.RLock()
	if b.ring.holds(cursor) {
		e = b.ring.after(cursor)
	}
	known := caughtUp || b.streaming && b.ring.end != beginning
	ask := e == nil && (!known || cursor.before(b.ring.end) || cursor.before(b.overdue))
	changed = b.changed
	b.mu.RUnlock()
	...
}
