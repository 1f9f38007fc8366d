package publisher

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
)

// followed is a boundary that has subscribers on this node: its ring, the one subscription to NATS that fills it, and
// the poll that finds what that does not bring.
type followed struct {
	config FeedConfig
	name   string
	source string // of the boundary's messages
	log    *slog.Logger
	counts *feedCounts

	foreign     bool // a message of another store was logged; consume's alone
	subscribers int  // guarded by the Feed's mutex
	cancel      context.CancelFunc
	running     sync.WaitGroup
	hints       chan struct{} // of room for one: several hints are one

	mu   sync.RWMutex
	ring ring
	// committed is a position up to which PostgreSQL is known to have events.
	committed position
	// overdue is a position that PostgreSQL has and NATS did not bring in time.
	overdue position
	// gone is why no more events come: the boundary was deleted, or its log is another one. It never becomes nil again.
	gone error
	// streaming says that NATS brings events, as far as known.
	streaming bool
	// changed is closed, and replaced, when the ring's end or overdue moves while a subscriber waits.
	changed chan struct{}
	// waiting is how many wait. It grows under the lock, so a holder of the write lock misses none.
	waiting atomic.Int64
}

func newFollowed(config FeedConfig, name string, counts *feedCounts) *followed {
	ctx, cancel := context.WithCancel(context.Background())
	b := &followed{
		config: config, name: name, source: Source(config.StoreID, name), log: config.Log.With("boundary", name),
		counts: counts,
		cancel: cancel, hints: make(chan struct{}, 1),
		ring: newRing(config.RingEvents, config.RingBytes), committed: beginning, overdue: beginning,
		changed: make(chan struct{}),
	}
	b.running.Go(func() { b.poll(ctx) })
	if config.NATS != nil {
		b.running.Go(func() { b.consume(ctx) })
	}
	return b
}

// close ends what newFollowed began, and returns when it has ended.
func (b *followed) close() {
	b.cancel()
	b.running.Wait()
}

// next is the entry after a cursor; or a channel for wait, which the caller then owes; or neither: PostgreSQL is to be
// asked. caughtUp says that PostgreSQL had nothing after the cursor. The error is why there will be nothing.
func (b *followed) next(cursor position, caughtUp bool) (e *entry, changed <-chan struct{}, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.gone != nil {
		return nil, nil, b.gone
	}
	if b.ring.holds(cursor) {
		if e := b.ring.after(cursor); e != nil {
			return e, nil, nil
		}
	}
	// What NATS brings in order has reached a cursor in the ring, or is on its way.
	live := b.streaming && b.ring.end != beginning
	if !caughtUp && !live || cursor.before(b.ring.end) || cursor.before(b.overdue) {
		return nil, nil, nil
	}
	b.waiting.Add(1)
	return nil, b.changed, nil
}

func (b *followed) wait(ctx context.Context, changed <-chan struct{}) {
	defer b.waiting.Add(-1)
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// wake lets those who wait look again. The caller holds the lock for writing.
func (b *followed) wake() {
	if b.waiting.Load() > 0 {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

func (b *followed) add(e *entry, previous int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ring.add(e, previous) {
		b.streaming = true
		b.wake()
	}
}

// begin lets the ring end with PostgreSQL's last position, so that the next event connects to it.
func (b *followed) begin(last position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streaming = true
	if b.ring.end != last {
		b.ring.begin(last)
		b.wake()
	}
}

// commits notes that PostgreSQL has events up to a position.
func (b *followed) commits(at position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.committed.before(at) {
		b.committed = at
	}
}

// isCommitted reports whether PostgreSQL has a position. It reads the last one only where that is not known.
func (b *followed) isCommitted(ctx context.Context, at position) (bool, error) {
	b.mu.RLock()
	known := !b.committed.before(at)
	b.mu.RUnlock()
	if known {
		return true, nil
	}
	last, err := b.lastPosition(ctx)
	return err == nil && !last.before(at), err
}

func (b *followed) setStreaming(streaming bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streaming = streaming
}

func (b *followed) hint() {
	select {
	case b.hints <- struct{}{}:
	default:
	}
}

// poll compares PostgreSQL's last position with the ring's end while a subscriber waits.
func (b *followed) poll(ctx context.Context) {
	ticker := time.NewTicker(b.config.PollInterval)
	defer ticker.Stop()
	seen, end := beginning, beginning // at the look before
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-b.hints:
			if b.isStreaming() {
				continue
			}
		}
		if b.waiting.Load() == 0 {
			continue
		}
		last, err := b.lastPosition(ctx)
		switch {
		case boundary.IsUnknown(err):
			b.end(err)
		case err == nil && last.before(end):
			b.end(errShorter)
		}
		if err != nil {
			if ctx.Err() == nil && !failed && !IsDisconnected(err) {
				b.log.WarnContext(ctx, "cannot look for events that the stream lacks; trying again", "error", err)
				failed = true
			}
			continue
		}
		failed = false
		end = b.compare(seen, last, end)
		seen = last
	}
}

// end ends all who follow the boundary.
func (b *followed) end(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = cmp.Or(b.gone, why)
	b.wake()
}

// errShorter ends subscriptions to a log whose end moved back: what comes next is at positions that they have passed.
var errShorter = status.Error(codes.Aborted,
	"the boundary's log is shorter than it was: the boundary was deleted and created again, or PostgreSQL was restored "+
		"from a backup; "+
		"subscribe again, after the last event of the new log that was processed")

// compare lets subscribers read what PostgreSQL had at the look before and the ring lacks still; where NATS brings
// nothing there is nothing to wait for, and that is so from the time when nothing at all came between two looks until
// something does. It returns the ring's end.
func (b *followed) compare(seen, last, endThen position) (end position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.streaming {
		seen = last
	}
	if b.ring.end.before(seen) && b.overdue.before(seen) {
		b.overdue = seen
		b.streaming = b.streaming && b.ring.end != endThen
		b.wake()
	}
	return b.ring.end
}

func (b *followed) isStreaming() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.streaming
}

func (b *followed) lastPosition(ctx context.Context) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	last, err := db.New().GetLastPosition(ctx, b.config.Pool, b.name)
	if err != nil {
		return beginning, err
	}
	at := position{last.TransactionID, last.GlobalID}
	b.commits(at)
	return at, nil
}

// lookTimeout is how long a look at PostgreSQL's last position may take, waiting for a connection included.
const lookTimeout = 5 * time.Second
