package publisher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// outboxPoll is how often an outbox looks for events without a hint.
	outboxPoll = time.Second
	// pageEvery is the least time between two queries of PostgreSQL that follow hints: saves that come faster share
	// one. A longer time would delay each event of a client that saves one after the other. Without it the outbox would
	// take a part of the machine from many small saves.
	pageEvery = time.Millisecond
	// maintainEvery is how often a stream is looked at: whether it can get the copies that it lacks, and whether
	// messages in its midst are lost.
	maintainEvery = 10 * time.Second
	// apiLimit bounds a request to JetStream.
	apiLimit = 5 * time.Second
)

// outbox publishes one boundary. Only run, and what it calls, uses the fields without a lock.
type outbox struct {
	config   Config
	boundary string
	source   string // of the boundary's messages
	log      *slog.Logger
	hinted   chan struct{}
	own      boundary.Boundaries

	stop    context.CancelFunc // ends run; nil before it began
	stopped chan struct{}      // closed when run has ended
	since   time.Time          // when the boundary was created, as the registry says; zero before the first look

	js         jetstream.JetStream // nil before the first pipeline
	batch      int                 // events to read with the next query
	checkpoint checkpointer
	recovery   recovery
	stream     streamState
	logged     loggedState

	traces traces

	mu    sync.Mutex
	state outboxState
}

// outboxState is what a publisher knows of a boundary.
type outboxState struct {
	// Leads says that this node publishes the boundary. False: another one does, or none.
	Leads bool
	// Published is the last event that this node published, or took over as published. Nil where it never led or there
	// is none.
	Published *orisunpb.Position
	// Trouble is why nothing is published although this node leads, or why this node cannot try to lead. Nil when all
	// is well.
	Trouble error
}

// streamState is what is known of the boundary's stream.
type streamState struct {
	hasFewCopies bool // fewer than it should have
	deleted      int  // places in its midst without a message, of which none is a hole
}

// loggedState is what the log has already, so that it is logged when it changes.
type loggedState struct {
	isStandby   bool // another node holds the lease
	isFailing   bool // nothing is published
	isRecreated bool // the stream, since anything was published
}

func newOutbox(config Config, boundary string, log *slog.Logger) *outbox {
	log = log.With("boundary", boundary)
	return &outbox{
		config: config, boundary: boundary, source: Source(config.StoreID, boundary), log: log,
		hinted: make(chan struct{}, 1), stopped: make(chan struct{}), batch: config.BatchSize,
		checkpoint: checkpointer{boundary: boundary, log: log},
	}
}

func (o *outbox) wake() {
	select {
	case o.hinted <- struct{}{}:
	default:
	}
}

func (o *outbox) look() outboxState {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state
}

func (o *outbox) change(change func(*outboxState)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.state)
}

// reached notes how far the stream is acknowledged.
func (o *outbox) reached(at position) {
	if at == beginning {
		return
	}
	o.change(func(s *outboxState) {
		s.Published = &orisunpb.Position{TransactionId: at.transactionID, GlobalId: at.globalID}
	})
}

// fails notes trouble, and logs it when it begins; what it becomes is detail. Leases logs that PostgreSQL is away.
func (o *outbox) fails(err error) {
	if !o.logged.isFailing && !IsDisconnected(err) {
		o.log.Warn("cannot publish; trying again", "error", err)
		o.logged.isFailing = true
	} else {
		o.log.Debug("cannot publish; trying again", "error", err)
	}
	o.change(func(s *outboxState) { s.Trouble = err })
}

// works notes that there is no trouble, and logs it when it ends.
func (o *outbox) works() {
	if o.logged.isFailing {
		o.log.Info("publishing again")
	}
	o.logged.isFailing, o.logged.isRecreated = false, false
	o.change(func(s *outboxState) { s.Trouble = nil })
}

// run leads whenever it can, until ctx ends.
func (o *outbox) run(ctx context.Context) {
	for backoff := newBackoff(); ctx.Err() == nil; {
		lease, err := o.acquire(ctx)
		if err == nil {
			backoff = newBackoff()
			o.lead(ctx, lease)
			continue
		}
		if ctx.Err() == nil {
			o.fails(err)
			pause(ctx, backoff)
		}
	}
}

func (o *outbox) acquire(ctx context.Context) (*Lease, error) {
	lease, err := o.config.Leases.acquire(ctx, leaseKey{o.boundary, PublisherLease}, Owner{}, func(err error) {
		if !errors.Is(err, ErrHeld) {
			o.change(func(s *outboxState) { s.Trouble = err }) // Leases logs it
			return
		}
		o.change(func(s *outboxState) { s.Trouble = nil }) // another node publishes
		if !o.logged.isStandby {
			o.log.Info("Failed to acquire lock for boundary: " + o.boundary)
			o.logged.isStandby = true
		}
	})
	if err == nil {
		o.log.Info("Successfully acquired lock for boundary: " + o.boundary)
		o.logged.isStandby = false
		o.change(func(s *outboxState) { s.Trouble = nil })
	}
	return lease, err
}

// lead publishes while the lease is held and ctx has not ended; then the lease is given up.
func (o *outbox) lead(ctx context.Context, lease *Lease) {
	defer lease.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) })()

	o.change(func(s *outboxState) { s.Leads = true })
	defer o.change(func(s *outboxState) { s.Leads = false })
	for backoff := newBackoff(); ctx.Err() == nil; {
		progress, err := o.publish(ctx, lease)
		if ctx.Err() != nil || lease.Context().Err() != nil {
			break
		}
		if progress {
			backoff = newBackoff()
		}
		o.fails(err)
		pause(ctx, backoff)
	}
	if err := context.Cause(lease.Context()); err != nil {
		o.log.Debug("lost the lock; another node may have it", "error", err) // Leases logs it for all boundaries
	}
}

// publish takes the stream over and follows PostgreSQL, until ctx ends or the stream is not what it should be. It
// reports whether it published anything.
func (o *outbox) publish(ctx context.Context, lease *Lease) (progress bool, err error) {
	if o.js == nil {
		// One for all pipelines: what an earlier pipeline left unanswered is given up after ackLimit, and counts as
		// pending until then.
		o.js, err = jetstream.New(o.config.NATS, jetstream.WithDefaultTimeout(apiLimit),
			jetstream.WithPublishAsyncMaxPending(4*maxInFlight), jetstream.WithPublishAsyncTimeout(ackLimit))
		if err != nil {
			return false, err
		}
	}
	end, err := o.takeOver(ctx, o.js)
	if err != nil {
		return false, err
	}
	line := newPipeline(lease.Context(), o.js, o, end)
	defer func() { o.checkpoint.move(lease, line.settled, true) }() // so that a publisher stops at a checkpoint

	poll := time.NewTicker(outboxPoll)
	defer poll.Stop()
	maintenance := time.NewTicker(maintainEvery)
	defer maintenance.Stop()
	for {
		begun := time.Now()
		more, err := o.page(ctx, line)
		progress = line.settled != end.at
		o.reached(line.settled)
		if err != nil {
			if !progress && (errors.Is(err, jetstream.ErrAsyncPublishTimeout) || isRefused(err, wrongLastSequence)) {
				o.recovery.failed()
			}
			return progress, err
		}
		if progress || !more { // not while all of it is still unanswered
			o.works()
		}
		o.checkpoint.move(lease, line.settled, false)
		if more {
			continue
		}
		var due <-chan time.Time // where the checkpoint is behind: by it others know how far the outbox is
		if o.checkpoint.isBehind(line.settled) {
			due = time.After(time.Until(o.checkpoint.due))
		}
		select {
		case <-o.hinted:
		case <-due:
		case <-poll.C:
		case <-maintenance.C:
			// Neither changes where the stream ends; what comes of a failure is seen with the next event.
			if err := o.maintain(ctx, line.settled); err != nil {
				o.log.Debug("stream not tended; trying again", "error", err)
			}
		case <-ctx.Done():
			return progress, nil
		}
		select {
		case <-time.After(time.Until(begun.Add(pageEvery))):
		case <-ctx.Done():
			return progress, nil
		}
	}
}

// page publishes the next events of the boundary's table. It reports whether there may be more; if not, it has waited
// for all acknowledgements. Two events at a time are in memory, beside those in flight.
func (o *outbox) page(ctx context.Context, line *pipeline) (more bool, err error) {
	query, cancel := context.WithCancel(ctx)
	defer cancel()
	count := o.batch
	own, err := o.own.On(ctx, o.config.Database, o.boundary)
	if err != nil {
		return false, err
	}
	rows, err := own.Query(query, db.NextEvents, line.sent.globalID, count)
	if err != nil {
		return false, o.own.Check(o.boundary, err)
	}
	read := 0
	var last *orisunpb.Event // read and not sent: after the page's end, its acknowledgement is that of all
	for err == nil && rows.Next() {
		var event *orisunpb.Event
		if event, err = scanEvent(rows); err != nil {
			break
		}
		read++
		if o.config.Committed != nil {
			o.config.Committed(o.boundary, event.GetPosition())
		}
		if last != nil {
			err = line.send(last, false)
		}
		last = event
	}
	if last != nil && line.broken == nil {
		if sent := line.send(last, true); err == nil {
			err = sent
		}
	}
	if err != nil {
		cancel() // rather than reading the rest, which is not used
	}
	rows.Close()
	if err == nil {
		err = o.own.Check(o.boundary, rows.Err())
	}
	if more = read == count; !more || err != nil {
		if settled := line.settle(0); err == nil {
			err = settled
		}
	}
	switch {
	case isTimeout(err):
		o.batch = max(o.batch/2, 1)
	case err == nil:
		o.batch = min(2*o.batch, o.config.BatchSize)
	}
	return more, err
}
