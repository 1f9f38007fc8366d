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
	// outboxPoll is how often an outbox looks for events that no hint told of.
	outboxPoll = time.Second
	// pageEvery is the least time between two queries of PostgreSQL that follow hints: saves that come faster share one. Longer, and who saves one event
	// after the other finds each delivered that much later; without it the outbox would take a part of what many small saves need of the machine.
	pageEvery = time.Millisecond
	// checkpointEvery is the least time between two checkpoints, so that they do not double the writes of PostgreSQL under many small saves.
	checkpointEvery = 100 * time.Millisecond
	// tendEvery is how often a stream is looked at: whether it can get the copies that it lacks, and whether messages in its midst are lost.
	tendEvery = 10 * time.Second
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

	js    jetstream.JetStream // nil before the first line
	batch int                 // events to read with the next query
	told  bool                // that somebody else holds the lease
	noted position            // the checkpoint in PostgreSQL, as far as known
	due   time.Time           // the next checkpoint
	few   bool                // the stream has fewer copies than it should

	deleted int // places in the midst of the stream without a message, of which none is a hole

	silent      int       // lines in a row that came to nothing
	silentSince time.Time // when the first of them did
	silentEnd   position  // of the stream where they began
	remade      bool      // since anything was published
	warned      bool      // the log has that nothing is published

	traces traces

	mu     sync.Mutex
	status Status
}

func newOutbox(config Config, boundary string, log *slog.Logger) *outbox {
	return &outbox{
		config: config, boundary: boundary, source: Source(config.StoreID, boundary), log: log.With("boundary", boundary),
		hinted: make(chan struct{}, 1), stopped: make(chan struct{}), batch: config.BatchSize,
	}
}

func (o *outbox) wake() {
	select {
	case o.hinted <- struct{}{}:
	default:
	}
}

func (o *outbox) look() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status
}

func (o *outbox) change(change func(*Status)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.status)
}

// reached notes how far the stream is acknowledged.
func (o *outbox) reached(at position) {
	if at == beginning {
		return
	}
	o.change(func(s *Status) {
		s.Published = &orisunpb.Position{TransactionId: at.transactionID, GlobalId: at.globalID}
	})
}

// fails notes trouble, and logs it when it begins; what it becomes is detail. Leases logs that PostgreSQL is away.
func (o *outbox) fails(err error) {
	if !o.warned && !IsDisconnected(err) {
		o.log.Warn("cannot publish; trying again", "error", err)
		o.warned = true
	} else {
		o.log.Debug("cannot publish; trying again", "error", err)
	}
	o.change(func(s *Status) { s.Trouble = err })
}

// works notes that there is no trouble, and logs it when it ends.
func (o *outbox) works() {
	if o.warned {
		o.log.Info("publishing again")
	}
	o.warned, o.remade = false, false
	o.change(func(s *Status) { s.Trouble = nil })
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
			o.change(func(s *Status) { s.Trouble = err }) // Leases logs it
			return
		}
		o.change(func(s *Status) { s.Trouble = nil }) // another one publishes
		if !o.told {
			o.log.Info("Failed to acquire lock for boundary: " + o.boundary)
			o.told = true
		}
	})
	if err == nil {
		o.log.Info("Successfully acquired lock for boundary: " + o.boundary)
		o.told = false
		o.change(func(s *Status) { s.Trouble = nil })
	}
	return lease, err
}

// lead publishes as long as the lease is held and ctx has not ended; then the lease is given up.
func (o *outbox) lead(ctx context.Context, lease *Lease) {
	defer lease.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) })()

	o.change(func(s *Status) { s.Leads = true })
	defer o.change(func(s *Status) { s.Leads = false })
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

// publish takes the stream over and follows PostgreSQL, until ctx ends or the stream is not what it should be. It reports whether it
// published anything.
func (o *outbox) publish(ctx context.Context, lease *Lease) (progress bool, err error) {
	if o.js == nil {
		// One for all lines: what an earlier line left unanswered is given up after ackLimit, and counts as pending until then.
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
	line := newLine(lease.Context(), o.js, o, end)
	defer o.checkpoint(lease, line, true) // so that a publisher stops at a checkpoint

	poll := time.NewTicker(outboxPoll)
	defer poll.Stop()
	tend := time.NewTicker(tendEvery)
	defer tend.Stop()
	for {
		asked := time.Now()
		more, err := o.page(ctx, line)
		progress = line.settled != end.at
		o.reached(line.settled)
		if err != nil {
			if !progress && (errors.Is(err, jetstream.ErrAsyncPublishTimeout) || isRefused(err, wrongLastSequence)) {
				if o.silent == 0 {
					o.silentSince = time.Now()
				}
				o.silent++
			}
			return progress, err
		}
		if progress || !more { // not while all of it is still unanswered
			o.works()
		}
		o.checkpoint(lease, line, false)
		if more {
			continue
		}
		var due <-chan time.Time // where the checkpoint is behind: by it others know how far the outbox is
		if o.noted.before(line.settled) {
			due = time.After(time.Until(o.due))
		}
		select {
		case <-o.hinted:
		case <-due:
		case <-poll.C:
		case <-tend.C:
			// Neither changes where the stream ends; what comes of a failure is seen with the next event.
			if err := o.tend(ctx, line.settled); err != nil {
				o.log.Debug("stream not tended; trying again", "error", err)
			}
		case <-ctx.Done():
			return progress, nil
		}
		select {
		case <-time.After(time.Until(asked.Add(pageEvery))):
		case <-ctx.Done():
			return progress, nil
		}
	}
}

// page publishes the next events of the boundary's table. It reports whether there may be more; if not, it has waited for all acknowledgements. Two events
// at a time are in memory, beside those in flight.
func (o *outbox) page(ctx context.Context, line *line) (more bool, err error) {
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

// checkpoint notes in PostgreSQL how far the stream is acknowledged, if that is due. A failure stops no publisher: the stream's end is the
// same, and a later one tries again. It never moves back: where JetStream lost its latest messages, that is made good before long.
func (o *outbox) checkpoint(lease *Lease, line *line, due bool) {
	at := line.settled
	if !o.noted.before(at) || !due && time.Now().Before(o.due) {
		return
	}
	o.due = time.Now().Add(checkpointEvery)
	err := lease.Do(context.Background(), func(ctx context.Context, tx db.DBTX) error {
		return db.New().MovePublishedPosition(ctx, tx, db.MovePublishedPositionParams{
			Boundary: o.boundary, TransactionID: at.transactionID, GlobalID: at.globalID,
		})
	})
	switch {
	case err == nil:
		o.noted = at
	case lease.Context().Err() == nil:
		o.log.Debug("checkpoint not moved; a later one will be", "global_id", at.globalID, "error", err)
		o.due = time.Now().Add(outboxPoll)
	}
}
