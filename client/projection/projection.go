// Package projection applies events to tables of your own PostgreSQL, each event exactly once.
//
// [Run] follows a boundary. It calls your Apply for each event in a transaction, and stores the event's position, the
// checkpoint, in the same transaction. If the program, the database or the server ends, Run continues after the last
// event that was applied:
//
//	store := projection.PGX(pool) // or projection.SQL(db)
//	err := projection.Run(ctx, c, store, projection.Config[pgx.Tx]{
//		Name: "balances", Boundary: "bank", Criteria: client.Any(client.Type("Deposited")),
//		Apply: func(ctx context.Context, tx pgx.Tx, event client.Event) error {
//			var deposit struct {
//				Account string
//				Amount  int64
//			}
//			if err := event.Decode(&deposit); err != nil {
//				return err
//			}
//			_, err := tx.Exec(ctx, "UPDATE balance SET cents = cents + $1 WHERE account = $2", deposit.Amount, deposit.Account)
//			return err
//		},
//	})
//
// Run waits for an Orisun server that is away. It ends with the first error of the database or of Apply: call it in a
// loop with a pause, or let the program end and start again.
//
// # Several processes
//
// Several processes may run the same projection. One of them applies events, and the others stand by until it ends.
// They share the checkpoint, so all of them need the same boundary, criteria and Apply. A projection with other
// criteria needs another name.
//
// # Rebuild
//
// To change a projection, run the new version under another name, with tables of its own, beside the live one. When
// [Progress.Left] is near 0, replace the live one by [Switch]. Your function renames the tables or replaces a view in
// one transaction, and the live version ends with [ErrSwitched], also if it is started again:
//
//	err := projection.Switch(ctx, store, "balances", "balances_v2", func(ctx context.Context, tx pgx.Tx) error {
//		_, err := tx.Exec(ctx, "CREATE OR REPLACE VIEW balance AS TABLE balance_v2")
//		return err
//	})
//
// # Checkpoints
//
// The checkpoints are the table orisun_projection, a row for each projection. Run and Switch create it where it is
// missing; [Setup] is for a DBA who does so beforehand.
package projection

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/oexza/orisun/client"
)

// The checkpoints, a row for each projection.
const createTable = `CREATE TABLE IF NOT EXISTS orisun_projection (
	name           text PRIMARY KEY,
	boundary       text NOT NULL,
	transaction_id bigint NOT NULL,
	global_id      bigint NOT NULL,
	replaced_by    text, -- by Switch; such a projection applies nothing any more
	updated_at     timestamptz NOT NULL DEFAULT now()
)`

const (
	findTable = `SELECT to_regclass($1) IS NOT NULL`
	// Of processes that start at once, one creates the table.
	lockTable        = `SELECT pg_advisory_xact_lock(hashtext('orisun_projection'))`
	insertCheckpoint = `INSERT INTO orisun_projection (name, boundary, transaction_id, global_id)
	VALUES ($1, $2, 0, 0) ON CONFLICT DO NOTHING`
	readCheckpoint = `SELECT boundary, transaction_id, global_id, coalesce(replaced_by, '') FROM orisun_projection
	WHERE name = $1`
	lockCheckpoint = readCheckpoint + ` FOR UPDATE`
	moveCheckpoint = `UPDATE orisun_projection SET transaction_id = $2, global_id = $3, updated_at = now()
	WHERE name = $1`
	replaceProjection = `UPDATE orisun_projection SET replaced_by = $2, updated_at = now() WHERE name = $1`
)

const (
	// progressInterval is how often the progress is read, and how long a fast read takes at most. After a slow or failed
	// read, such as a scan of the whole boundary, the interval doubles up to maxProgressInterval.
	progressInterval    = time.Second
	maxProgressInterval = time.Minute

	// switchTimeout is how long Switch holds the live projection while the new one catches up, and switchInterval how
	// often it reads the new one's position.
	switchTimeout  = 3 * time.Second
	switchInterval = 50 * time.Millisecond
)

// ErrSwitched ends a projection that another one has replaced by [Switch]. Its name cannot be used again, unless its
// row in orisun_projection is deleted.
var ErrSwitched = errors.New("the projection is replaced")

// ErrBehind is the error of [Switch] if the new projection does not reach the live one in time.
var ErrBehind = errors.New("the new projection is behind the live one")

// Config is a projection.
type Config[T any] struct {
	// Name is the name of the checkpoint. All processes that run the projection need the same Boundary, Criteria and
	// Apply: one with narrower criteria moves the checkpoint over events that the others would apply.
	Name     string
	Boundary string
	// Criteria match the events to apply. Nil criteria match all.
	Criteria client.Criteria
	// Apply applies one event in a transaction, which Run commits with the checkpoint. An error of Apply rolls the
	// transaction back and ends Run.
	Apply func(ctx context.Context, tx T, event client.Event) error
	// Progress, if it is set, is called between two events, once a second while the progress changes, and less often
	// while the server is slow or away. A panic of it is a panic of Run.
	Progress func(Progress)
}

// Progress is how far a projection is.
type Progress struct {
	// Position is the checkpoint. Once all events that match are applied, it is that of the boundary's latest event.
	Position client.Position
	// Applied is how many events this Run has applied, and Rate how many a second.
	Applied int64
	Rate    float64
	// Left is how many events of the boundary are after Position, whether they match or not. TimeLeft is how long the
	// projection takes to reach the latest one at this speed, or 0 if that is not known.
	Left     int64
	TimeLeft time.Duration
}

// Store is a PostgreSQL, reached by [PGX] or [SQL].
type Store[T any] struct {
	transact func(ctx context.Context, do func(T, statements) error) error
}

// statements are what this package needs of a transaction.
type statements interface {
	exec(ctx context.Context, query string, args ...any) error
	// find scans one row; false where there is none.
	find(ctx context.Context, query, name string, into ...any) (bool, error)
}

// Setup creates the table of checkpoints, orisun_projection, if it is missing. Run and Switch do so, too.
func Setup[T any](ctx context.Context, store Store[T]) error {
	if store.transact == nil {
		return errors.New("a store is made by PGX or SQL")
	}
	return store.transact(ctx, func(_ T, tx statements) error {
		var exists bool
		if _, err := tx.find(ctx, findTable, "orisun_projection", &exists); err != nil || exists {
			return err
		}
		return errors.Join(tx.exec(ctx, lockTable), tx.exec(ctx, createTable))
	})
}

// Run applies events until its context ends, or until the first error of Apply, of the database, or of the subscription
// that a retry does not heal. The next Run continues after the last event that was applied.
func Run[T any](ctx context.Context, c *client.Client, store Store[T], config Config[T]) error {
	if config.Name == "" || config.Boundary == "" || config.Apply == nil {
		return errors.New("a projection needs a Name, a Boundary and an Apply")
	}
	if err := Setup(ctx, store); err != nil {
		return fmt.Errorf("create the table of checkpoints: %w", err)
	}
	r := &run[T]{client: c, store: store, config: config, begun: time.Now()}
	if err := r.begin(ctx); err != nil {
		return err
	}
	following, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	var panicked any
	stop := func() {
		end(nil)
		watching.Wait()
	}
	defer stop() // after a panic of Apply, too
	watching.Go(func() {
		defer func() {
			if panicked = recover(); panicked != nil {
				panicked = fmt.Sprintf("Config.Progress panicked: %v\n%s", panicked, debug.Stack())
				end(nil)
			}
		}()
		end(r.watch(following))
	})
	err := r.follow(following)
	ended := following.Err() // by watch, where the context of the caller has not ended
	stop()
	if panicked != nil {
		panic(panicked) // in the goroutine of the caller, who can recover from it
	}
	if ctx.Err() == nil && ended != nil {
		return context.Cause(following)
	}
	return err
}

// run is one call of Run.
type run[T any] struct {
	client *client.Client
	store  Store[T]
	config Config[T]
	first  client.Position
	begun  time.Time

	mu      sync.Mutex // one transaction at a time: the store may be a single connection
	applied int64
	passed  client.Position // no event up to it is left to apply
	failed  error           // of a transaction: none begins after it

	slow bool // a read of the events in this round of watch failed or was not fast
}

func (r *run[T]) transact(ctx context.Context, do func(T, statements) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = r.store.transact(ctx, do)
	}
	return r.failed
}

// begin reads the checkpoint, which it creates for a new projection.
func (r *run[T]) begin(ctx context.Context) error {
	return r.transact(ctx, func(_ T, tx statements) error {
		if err := tx.exec(ctx, insertCheckpoint, r.config.Name, r.config.Boundary); err != nil {
			return err
		}
		at, err := read(ctx, tx, r.config.Name)
		if err == nil && at.boundary != r.config.Boundary {
			return fmt.Errorf("the projection %q is of the boundary %q, not %q", r.config.Name, at.boundary, r.config.Boundary)
		}
		r.first = at.position
		return errors.Join(err, at.live())
	})
}

func (r *run[T]) follow(ctx context.Context) error {
	options := []client.FollowOption{client.Since(r.first), client.As(r.config.Name)}
	for event, err := range r.client.Follow(ctx, r.config.Boundary, r.config.Criteria, options...) {
		if err != nil {
			return err
		}
		if err := r.apply(ctx, event); err != nil {
			return err
		}
	}
	return nil // the loop ends by the returns above
}

// apply applies an event, unless another process did so before it lost the subscription's name. After a takeover, such
// events are all those since this process began: of them, only the first one needs a transaction.
func (r *run[T]) apply(ctx context.Context, event client.Event) error {
	r.mu.Lock()
	passed := r.passed
	r.mu.Unlock()
	if event.Position.Compare(passed) <= 0 {
		return nil
	}
	return r.transact(ctx, func(user T, tx statements) error {
		at, err := read(ctx, tx, r.config.Name)
		if err := errors.Join(err, at.live()); err != nil {
			return err
		}
		if r.passed = at.position; event.Position.Compare(r.passed) <= 0 {
			return nil
		}
		if err := r.config.Apply(ctx, user, event); err != nil {
			return err
		}
		r.applied++
		return tx.exec(ctx, moveCheckpoint, r.config.Name, event.Position.TransactionID, event.Position.GlobalID)
	})
}

// watch reports the progress, until its context ends or with the first error of a transaction. A failed read of the
// events does not end it: Follow decides which errors of the server do.
func (r *run[T]) watch(ctx context.Context) error {
	var last Progress
	for interval := progressInterval; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		r.slow = false
		progress, known, err := r.progress(ctx)
		if err != nil {
			return err
		}
		if known && (progress.Position != last.Position || progress.Left != last.Left) {
			last = progress
			r.report(progress)
		}
		if r.slow {
			interval = min(2*interval, maxProgressInterval)
		} else {
			interval = progressInterval
		}
	}
}

func (r *run[T]) report(progress Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.config.Progress != nil {
		r.config.Progress(progress)
	}
}

// progress moves the checkpoint, too: to the boundary's latest event, where none up to it is left to apply. It is not
// known while the server does not return the latest event.
func (r *run[T]) progress(ctx context.Context) (p Progress, known bool, err error) {
	latest, known := r.one(ctx, nil, client.Backward())
	if !known {
		return p, false, nil
	}
	if err := r.transact(ctx, func(_ T, tx statements) error {
		at, err := find(ctx, tx, readCheckpoint, r.config.Name)
		p.Position, p.Applied = at.position, r.applied
		return errors.Join(err, at.live())
	}); err != nil {
		return p, false, err
	}
	if latest.Compare(p.Position) > 0 {
		next, found := r.one(ctx, r.config.Criteria, client.After(p.Position))
		if found && (next.IsStart() || next.Compare(latest) > 0) {
			if err := r.pass(ctx, p.Position, latest); err != nil {
				return p, false, err
			}
			p.Position = latest
		}
	}
	p.Left = max(0, count(latest)-count(p.Position))
	seconds := time.Since(r.begun).Seconds()
	p.Rate = float64(p.Applied) / seconds
	if passed := count(p.Position) - count(r.first); passed > 0 {
		p.TimeLeft = time.Duration(float64(p.Left) / float64(passed) * seconds * float64(time.Second))
	}
	return p, true, nil
}

// count is how many events of the boundary stand at or before a position.
func count(p client.Position) int64 {
	if p.IsStart() {
		return 0
	}
	return p.GlobalID + 1
}

// one is the position of the first event that Get returns: the start, where there is none; false where it fails.
func (r *run[T]) one(ctx context.Context, criteria client.Criteria, where client.GetOption) (client.Position, bool) {
	begun := time.Now()
	defer func() { r.slow = r.slow || time.Since(begun) > progressInterval }()
	for event, err := range r.client.Get(ctx, r.config.Boundary, criteria, where, client.Limit(1)) {
		r.slow = r.slow || err != nil
		return event.Position, err == nil
	}
	return client.Position{}, true
}

// pass moves the checkpoint over events that do not match, unless an event has been applied meanwhile.
func (r *run[T]) pass(ctx context.Context, from, to client.Position) error {
	return r.transact(ctx, func(_ T, tx statements) error {
		at, err := read(ctx, tx, r.config.Name)
		if err != nil || at.live() != nil || at.position != from {
			return err
		}
		return tx.exec(ctx, moveCheckpoint, r.config.Name, to.TransactionID, to.GlobalID)
	})
}

// checkpoint is a row of orisun_projection.
type checkpoint struct {
	name, boundary, replacedBy string
	position                   client.Position
}

// live returns an error if another projection has replaced this one.
func (c checkpoint) live() error {
	if c.replacedBy != "" {
		return fmt.Errorf("%w: %q by %q", ErrSwitched, c.name, c.replacedBy)
	}
	return nil
}

// read locks the checkpoint, too.
func read(ctx context.Context, tx statements, name string) (checkpoint, error) {
	return find(ctx, tx, lockCheckpoint, name)
}

func find(ctx context.Context, tx statements, query, name string) (checkpoint, error) {
	at := checkpoint{name: name}
	found, err := tx.find(ctx, query, name,
		&at.boundary, &at.position.TransactionID, &at.position.GlobalID, &at.replacedBy)
	if err == nil && !found {
		err = fmt.Errorf("there is no projection %q in orisun_projection", name)
	}
	return at, err
}

// catchUp waits until next has reached live, at most for switchTimeout, and does not lock it meanwhile. Its caller
// decides whether a switch is possible.
func catchUp(ctx context.Context, tx statements, live checkpoint, next string) error {
	timeout := time.After(switchTimeout)
	for {
		at, err := find(ctx, tx, readCheckpoint, next)
		if err != nil || at.live() != nil || at.boundary != live.boundary || at.position.Compare(live.position) >= 0 {
			return err
		}
		select {
		case <-time.After(switchInterval):
		case <-timeout:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Switch replaces the projection live by the projection next. It calls exchange, which renames tables or replaces
// views, and marks live as replaced, all in one transaction. Neither projection applies an event meanwhile. Run of live
// ends with [ErrSwitched], now and whenever it is started again. Both have their names for good, so the version after
// next needs a third name.
//
// Next must run while it catches up with live. Switch holds live for up to 3 seconds meanwhile, so a steady load does
// not prevent the switch. If next is behind after that time, Switch returns [ErrBehind], and live continues.
func Switch[T any](
	ctx context.Context, store Store[T], live, next string, exchange func(ctx context.Context, tx T) error,
) error {
	if live == next || exchange == nil {
		return fmt.Errorf("a switch from %q to %q needs two projections and an exchange", live, next)
	}
	if err := Setup(ctx, store); err != nil {
		return err
	}
	return store.transact(ctx, func(user T, tx statements) error {
		from, err := read(ctx, tx, live)
		if err := errors.Join(err, from.live()); err != nil {
			return err
		}
		if err := catchUp(ctx, tx, from, next); err != nil {
			return err
		}
		to, err := read(ctx, tx, next)
		if err := errors.Join(err, to.live()); err != nil {
			return err
		}
		switch {
		case from.boundary != to.boundary:
			return fmt.Errorf("%q is of the boundary %q, %q of %q", live, from.boundary, next, to.boundary)
		case to.position.Compare(from.position) < 0:
			return fmt.Errorf("%w: %q is at %v, %q at %v", ErrBehind, next, to.position, live, from.position)
		}
		if err := exchange(ctx, user); err != nil {
			return err
		}
		return tx.exec(ctx, replaceProjection, live, next)
	})
}
