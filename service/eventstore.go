// Package service implements the RPCs. It checks the request, calls one SQL function and encodes its answer. Each RPC
// has one file, named after it. The rules of the store live in the SQL functions, not here.
//
// Failure modes: a field that breaks a rule is INVALID_ARGUMENT with every violation's path (violations.go). One table
// maps PostgreSQL's errors to statuses (errors.go). Any other failure is INTERNAL with a generic text; the returned
// error unwraps to its cause, for the log.
package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// Config is what an EventStore needs.
type Config struct {
	// Write is the pool for saves, Read the pool for reads.
	Write, Read *pgxpool.Pool
	// ReadShare divides Read among its users. nil: this EventStore is the only one.
	ReadShare *ReadShare
	// MessageSize is the most bytes that an event takes when it is published; data and metadata are their bytes as
	// PostgreSQL prints them. MaxMessageBytes is the most of these that JetStream carries.
	MessageSize     func(boundary, eventID, eventType string, data, metadata int) int
	MaxMessageBytes int
	// MaxSaveBytes is the most that the events of a save may take as PostgreSQL prints them. 0: unlimited.
	MaxSaveBytes int
	// MaxPageBytes is the most that an answer may take on the wire: the gRPC send limit.
	MaxPageBytes int
	// Saved is called with every boundary that got new events, after their commit; it must not block. nil: not called.
	Saved func(boundary string)
	// BoundaryCreated is called with each boundary that was created here, after its commit; it must not block. nil: not
	// called.
	BoundaryCreated func(boundary string)
	// BoundaryDeleted is called with each boundary that was deleted here, after its commit; it must not block. nil: not
	// called.
	BoundaryDeleted func(boundary string)
	// Configured returns whether this node's configuration names a boundary, so that its next start would create it.
	// nil: none.
	Configured func(boundary string) bool
	// Feed is where subscriptions get their events. nil: CatchUpSubscribeToEvents is UNIMPLEMENTED.
	Feed Feed
	// AcquireSubscriber makes a subscriber_name exclusive. Needed with Feed.
	AcquireSubscriber AcquireSubscriber
	// MaxSubscriberNames is how many subscriptions with a name a user may have open. 0: unlimited.
	MaxSubscriberNames int
	// Conflicts counts the saves that are refused. nil: one of its own.
	Conflicts *Conflicts
	// Cluster reads from the other nodes. nil: ListNodes is UNIMPLEMENTED; ListSubscribers and ListConflicts have this
	// node's.
	Cluster Cluster
	// Serving ends when the server begins to drain, and subscriptions end with it. nil: they do not end.
	Serving context.Context
	// Info is the answer of GetServerInfo.
	Info *orisunpb.GetServerInfoResponse
	// Telemetry gets durations and outcomes.
	Telemetry Telemetry
	// Log gets what no caller gets: criteria without an index, and failed builds whose index is not removed yet. nil:
	// no log.
	Log *slog.Logger
}

// EventStore serves orisun.EventStore. Its methods are safe for concurrent use.
type EventStore struct {
	orisunpb.UnimplementedEventStoreServer

	config  Config
	queries *db.Queries
	saves   *groupcommit.Group[checkedSave, db.OrisunSaveResult]

	readGroups *groupcommit.Group[smallRead, smallResponse]

	retries   *retryPriority
	advice    *adviser
	conflicts *Conflicts

	reads       *ReadShare
	largePages  *largePageLimiter
	lanes       *writeLanes
	builds      *slots // changes of indexes
	checkBudget time.Duration
	names       subscriberNames
	live        liveSubscribers

	boundaries boundary.Boundaries
	shortage   shortage
	named      namedSubscriptions
	lockWaits  lockWaits
}

// NewEventStore returns a server that uses the pools of config. The caller closes them.
func NewEventStore(config Config) *EventStore {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	store := &EventStore{
		config: config, queries: db.New(), retries: newRetryPriority(), shortage: shortage{log: config.Log},
	}
	if store.reads = config.ReadShare; store.reads == nil {
		store.reads = NewReadShare(int(config.Read.Config().MaxConns))
	}
	store.largePages = newLargePageLimiter()
	store.names = subscriberNames{limit: config.MaxSubscriberNames, open: make(map[string]int)}
	store.lanes, store.builds, store.checkBudget = newWriteLanes(int(config.Write.Config().MaxConns)),
		newSlots(maxBuilds, maxWaitingBuilds), checkBudget
	store.lockWaits = lockWaits{
		log: config.Log, isLogged: make(map[string]bool),
		find: func(ctx context.Context, pid uint32) ([]db.FindBlockingSessionsRow, error) {
			return store.queries.FindBlockingSessions(ctx, config.Read, int32(pid))
		},
	}
	store.advice = newAdviser(func(ctx context.Context, boundary string, keys []string) (bool, error) {
		return store.queries.IsServed(ctx, config.Read, db.IsServedParams{Boundary: boundary, Keys: keys})
	}, config.Log, time.Now)
	if store.conflicts = config.Conflicts; store.conflicts == nil {
		store.conflicts = NewConflicts(time.Now)
	}
	instruments, err := newInstruments(config.Telemetry)
	options := flushOptions
	options.Observe, options.Trace = instruments.observe, instruments.trace
	store.saves = groupcommit.NewGroup(options, requestsOf(instruments.counted(store.flush)))
	store.readGroups = groupcommit.NewGroup(readGroupOptions, store.flushReads)
	if err = errors.Join(err, instruments.watch(store.saves.Queued, store.advice)); err != nil {
		config.Log.Error("metrics are incomplete", "error", err)
	}
	return store
}

// Shortage names the boundaries whose last saves PostgreSQL refused for want of resources, and the reasons; nil if
// there are none.
func (s *EventStore) Shortage() error { return s.shortage.err() }

// Close refuses further saves and waits for those that were accepted, until ctx ends. The pools can be closed after it.
func (s *EventStore) Close(ctx context.Context) error {
	return errors.Join(s.saves.Close(ctx), s.readGroups.Close(ctx))
}

// untilDraining returns a context that also ends, with this cause, when the server begins to drain. Call end when it is
// no longer used.
func (s *EventStore) untilDraining(ctx context.Context, cause error) (context.Context, context.CancelCauseFunc) {
	draining, cancel := context.WithCancelCause(ctx)
	if s.config.Serving == nil {
		return draining, cancel
	}
	stop := context.AfterFunc(s.config.Serving, func() { cancel(cause) })
	return draining, func(cause error) {
		stop()
		cancel(cause)
	}
}
