package publisher

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
)

// FeedConfig is what a Feed needs. Numbers that are zero are the defaults.
type FeedConfig struct {
	// Pool is where subscribers read what the ring does not hold. A page takes a connection for as long as its query
	// runs, never while it is delivered.
	Pool *pgxpool.Pool
	// Share waits until the caller of ctx may use one more connection of Pool to read from a boundary, until leave.
	// Nil: at once.
	Share func(ctx context.Context, boundary string) (leave func(), err error)
	// NATS brings what is published; nil means that nothing is, so that everything is read from PostgreSQL.
	NATS *nats.Conn
	// StoreID is the store whose messages are believed. Others are left out.
	StoreID string
	// RingEvents and RingBytes bound the ring of a boundary: 65,536 events and 16 MiB.
	RingEvents, RingBytes int
	// PageEvents and PageBytes bound what a subscriber holds in memory while its client reads: 512 events and 128 KiB,
	// or one larger event.
	PageEvents, PageBytes int
	// PollInterval is how often PostgreSQL's last position is compared with the ring's end while subscribers wait:
	// 500 ms. What PostgreSQL had at one look and the ring lacks at the next is read from PostgreSQL, so the loss of
	// NATS costs at most two intervals.
	PollInterval time.Duration
	// Tracer shows deliveries in the traces of their saves. Nil: nowhere.
	Tracer trace.Tracer
	// Log is notified when a stream is lost and when it is there again.
	Log *slog.Logger
}

// Feed brings events to subscribers. DESIGN.md, "The feed", says how. It has nothing to close: what it does for a
// boundary begins with the first subscriber and has ended when Follow returns to the last one. Its methods are safe for
// concurrent use.
type Feed struct {
	config FeedConfig
	own    boundary.Boundaries

	mu         sync.Mutex
	boundaries map[string]*followed
	counts     map[string]*feedCounts // of boundaries that PostgreSQL knows, once they had a subscriber
}

// NewFeed returns a feed. The pool and the connection stay the caller's to close, after the last Follow.
func NewFeed(config FeedConfig) *Feed {
	config.RingEvents = cmp.Or(config.RingEvents, 1<<16)
	config.RingBytes = cmp.Or(config.RingBytes, 16<<20)
	config.PageEvents = cmp.Or(config.PageEvents, 512)
	config.PageBytes = cmp.Or(config.PageBytes, 128<<10)
	config.PollInterval = cmp.Or(config.PollInterval, 500*time.Millisecond)
	config.Tracer = orNoTracer(config.Tracer)
	if config.Share == nil {
		config.Share = func(context.Context, string) (func(), error) { return func() {}, nil }
	}
	config.Log = cmp.Or(config.Log, slog.New(slog.DiscardHandler))
	return &Feed{config: config, boundaries: make(map[string]*followed), counts: make(map[string]*feedCounts)}
}

// Hint says that events were committed to a boundary. It never waits. While the stream delivers, it changes
// nothing: the event is on its way. Without the stream it spares waiting subscribers the rest of the poll interval.
func (f *Feed) Hint(boundary string) {
	f.mu.Lock()
	b := f.boundaries[boundary]
	f.mu.Unlock()
	if b != nil {
		b.hint()
	}
}

// Committed says that PostgreSQL has a boundary's events up to a position, so that the feed need not look when NATS
// brings them. It never waits.
func (f *Feed) Committed(boundary string, at *orisunpb.Position) {
	f.mu.Lock()
	b := f.boundaries[boundary]
	f.mu.Unlock()
	if b != nil {
		b.commits(positionOf(at))
	}
}

// Follow delivers the events of a boundary that lie after a position and match the criteria: those that are stored,
// then those that come, in order, each once. It calls deliver one event at a time and waits for it; deliver may take as
// long as it likes and must not change the event, which others get as well.
//
// Follow ends with the cause of ctx, with deliver's error, or with PostgreSQL's when that does not answer (or does not
// know the boundary: OR001). It never ends without an error. A subscriber goes on after the last event it got.
//
// Follow stores in looked, unless that is nil, up to which global_id events were delivered or do not match.
func (f *Feed) Follow(
	ctx context.Context, boundary string, after *orisunpb.Position, criteria []*orisunpb.Criterion,
	deliver func(*orisunpb.Event) error, looked *atomic.Int64,
) error {
	if looked == nil {
		return f.follow(ctx, boundary, after, criteria, deliver, nil)
	}
	return f.follow(ctx, boundary, after, criteria, func(event *orisunpb.Event) error {
		err := deliver(event)
		if err == nil {
			looked.Store(event.GetPosition().GetGlobalId())
		}
		return err
	}, func(at position, _ bool) { looked.Store(at.globalID) })
}

// FollowLooking is Follow that also reports how far it looked: every event up to there that matches was delivered.
// caughtUp says that nothing is stored after it.
func (f *Feed) FollowLooking(
	ctx context.Context, boundary string, after *orisunpb.Position, criteria []*orisunpb.Criterion,
	deliver func(*orisunpb.Event) error, looked func(transactionID, globalID int64, caughtUp bool),
) error {
	return f.follow(ctx, boundary, after, criteria, deliver, func(at position, caughtUp bool) {
		looked(at.transactionID, at.globalID, caughtUp)
	})
}

func (f *Feed) follow(
	ctx context.Context, name string, after *orisunpb.Position, criteria []*orisunpb.Criterion,
	deliver func(*orisunpb.Event) error, report func(at position, caughtUp bool),
) error {
	wanted := newFilter(criteria)
	s := subscriber{
		boundary: f.join(name),
		scan:     f.newScan(name, criteria),
		wanted:   wanted,
		cursor:   positionOf(after),
		deliver:  deliver,
		report:   report,
	}
	defer f.leave(s.boundary)
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil {
			return f.reason(ctx, name, err)
		}
	}
	return context.Cause(ctx)
}

// reason is why a subscriber ends. While its boundary is being deleted, PostgreSQL finds the boundary and not its
// table: a moment later it does not know the boundary (OR001).
func (f *Feed) reason(ctx context.Context, name string, err error) error {
	if boundary.IsGone(err) {
		if _, now := db.New().FindBoundarySchema(ctx, f.config.Pool, name); boundary.IsUnknown(now) {
			return now
		}
	}
	return err
}

func (f *Feed) join(name string) *followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boundaries[name]
	if b == nil {
		if f.counts[name] == nil {
			f.counts[name] = new(feedCounts)
		}
		b = newFollowed(f.config, name, f.counts[name])
		f.boundaries[name] = b
	}
	b.subscribers++
	return b
}

func (f *Feed) leave(b *followed) {
	f.mu.Lock()
	b.subscribers--
	last := b.subscribers == 0
	if last {
		delete(f.boundaries, b.name)
	}
	f.mu.Unlock()
	if last {
		b.close()
	}
}
