package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	orisunpb "github.com/oexza/orisun/proto"
)

// hintPrefix, the store and a boundary make the subject on which nodes notify each other of commits.
const hintPrefix = "orisun.hints."

// boundarySubject is a subject of one store and one boundary, or of all boundaries ("*").
func boundarySubject(prefix, storeID, boundary string) string {
	return prefix + storeID + "." + boundary
}

// boundaryOf is the boundary of a boundarySubject: its last token.
func boundaryOf(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// Config is what a Publisher needs. All of it stays the caller's to close, after Run has returned.
type Config struct {
	// Leases is this node's; its Run runs beside the publisher's.
	Leases *Leases

	// Database is where the registry of boundaries and events are read: one connection a boundary while it has
	// something to publish. What runs long queries should not share the pool.
	Database *pgxpool.Pool

	// NATS is a connection with all rights, and of its own: the acknowledgements of everything published come back on it.
	NATS *nats.Conn

	// StoreID names this store in every message, the same on all nodes.
	StoreID string

	// BatchSize is how many events are read with one query.
	BatchSize int

	// Hinted is notified of each boundary in which another node committed something that no stream may report. It must
	// not block. Nil: no call.
	Hinted func(boundary string)

	// Removed is called with each boundary that any node deleted or created again. It must not block. Nil: no call.
	Removed func(boundary string)

	// Committed receives the position of each event that is about to be published, as PostgreSQL has it. It must not
	// block. Nil: it goes nowhere.
	Committed func(boundary string, at *orisunpb.Position)

	// Stream is how much JetStream keeps.
	Stream StreamLimits

	// Tracer shows publications in the traces of their saves. Nil: nowhere.
	Tracer trace.Tracer

	// Logger is notified of leases, and when publishing stops and goes on. Nil means slog.Default().
	Logger *slog.Logger
}

// StreamLimits bound a boundary's stream, the oldest messages go first. Nothing depends on old messages: PostgreSQL has
// every event.
type StreamLimits struct {
	Replicas    int           // copies in a cluster, 1 to 5; 0 is 1
	MaxBytes    int64         // 0 is no limit
	MaxAge      time.Duration // 0 is no limit
	MaxMessages int64         // 0 is no limit
}

// Publisher publishes the events of each boundary in the registry to its stream, as long as this node holds the
// boundary's lease: every event once, in order. A boundary that another node creates is published within a second and
// what it takes to find the stream. The package's documentation has the rules. Its methods are safe for concurrent use.
type Publisher struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	outboxes map[string]*outbox
	ctx      context.Context // of Run; nil before
	ended    bool
	running  sync.WaitGroup
}

// New returns a publisher that does nothing before Run.
func New(config Config) *Publisher {
	config.Tracer = orNoTracer(config.Tracer)
	p := &Publisher{config: config, log: config.Logger, outboxes: map[string]*outbox{}}
	if p.log == nil {
		p.log = slog.Default()
	}
	return p
}

// Run publishes until ctx ends; then it waits for what is on its way, notes how far it came and gives up its leases.
// Nothing that happens to PostgreSQL or to JetStream ends it before.
func (p *Publisher) Run(ctx context.Context) error {
	hints, err := p.config.NATS.Subscribe(boundarySubject(hintPrefix, p.config.StoreID, "*"), func(hint *nats.Msg) {
		boundary := boundaryOf(hint.Subject)
		p.wake(boundary)
		if p.config.Hinted != nil {
			p.config.Hinted(boundary)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to hints: %w", err)
	}
	traces, err := p.config.NATS.Subscribe(boundarySubject(tracePrefix, p.config.StoreID, "*"), p.hearTrace)
	if err != nil {
		return fmt.Errorf("subscribe to traces: %w", err)
	}
	p.mu.Lock()
	p.ctx = ctx
	for _, o := range p.outboxes {
		p.start(o)
	}
	p.mu.Unlock()

	p.followRegistry(ctx) // until ctx ends
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.running.Wait()
	for _, heard := range []*nats.Subscription{hints, traces} {
		if err := heard.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("unsubscribe from %s: %w", heard.Subject, err)
		}
	}
	return nil
}

// Add makes the publisher publish a boundary, which exists in PostgreSQL, from now on: sooner than the registry's poll
// would. A boundary that it has is no error.
func (p *Publisher) Add(boundary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outboxes[boundary] != nil || p.ended {
		return
	}
	o := newOutbox(p.config, boundary, p.log)
	p.outboxes[boundary] = o
	if p.ctx != nil {
		p.start(o)
	}
}

// start runs under the lock.
func (p *Publisher) start(o *outbox) {
	ctx, stop := context.WithCancel(p.ctx)
	o.stop = stop
	p.running.Go(func() {
		defer close(o.stopped)
		defer stop()
		o.run(ctx)
	})
}

// Remove makes the publisher forget a boundary that was deleted, and deletes its stream, which is but a copy: sooner
// than the registry's poll would.
func (p *Publisher) Remove(boundary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.outboxes[boundary]
	if o == nil || o.stop == nil || p.ended {
		return
	}
	delete(p.outboxes, boundary)
	o.stop()
	if p.config.Removed != nil {
		p.config.Removed(boundary)
	}
	ctx := p.ctx
	p.running.Go(func() {
		<-o.stopped
		for backoff := newBackoff(); ctx.Err() == nil && p.find(boundary) == nil; pause(ctx, backoff) {
			err := o.deleteStream(ctx)
			if err == nil {
				o.log.Info("the boundary is gone: no longer published, its stream is deleted", "stream", StreamName(boundary))
				return
			}
			o.log.Debug("stream not deleted; trying again", "error", err)
		}
	})
}

// Hint notifies of a commit in a boundary, so that it is published now and not at the next poll. It never blocks; hints
// that come while one is pending are one. The other nodes are notified as well, unless this one publishes the boundary
// without trouble: then the stream does.
func (p *Publisher) Hint(boundary string) {
	o := p.wake(boundary)
	if o == nil {
		return
	}
	if status := o.look(); status.Leads && status.Trouble == nil {
		return
	}
	if err := p.config.NATS.Publish(boundarySubject(hintPrefix, p.config.StoreID, boundary), nil); err != nil {
		p.log.Debug("hint not sent; the poll will find the events", "boundary", boundary, "error", err)
	}
}

// find is the outbox of a boundary, or nil.
func (p *Publisher) find(boundary string) *outbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outboxes[boundary]
}

func (p *Publisher) wake(boundary string) *outbox {
	o := p.find(boundary)
	if o != nil {
		o.wake()
	}
	return o
}

// Trouble reports which of the boundaries that this node publishes it cannot publish, and why, from memory; nil is
// none.
func (p *Publisher) Trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, boundary := range slices.Sorted(maps.Keys(p.outboxes)) {
		if state := p.outboxes[boundary].look(); state.Leads && state.Trouble != nil {
			all = append(all, fmt.Sprintf("boundary %s: %v", boundary, state.Trouble))
		}
	}
	if all == nil {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}
