// Package projection applies the events of a subscription to tables of your own PostgreSQL. The checkpoint moves in the
// transaction that applies the event, so each event is applied exactly once, whatever ends in between.
//
//	store := projection.PGX(pool) // or projection.SQL(db)
//	err := projection.Run(ctx, c, store, projection.Config[pgx.Tx]{
//		Name: "balances", Boundary: "bank",
//		Apply: func(ctx context.Context, tx pgx.Tx, event client.Event) error { … },
//	})
//
// Run ends with the first error, of the database say: run it in a loop, with a pause, or let the program end and start
// again. It continues after the last event that was applied.
//
// To rebuild a projection, run the new version under another name ("balances_v2"), with tables of its own, beside the
// live one. When [Progress.Left] is near 0, [Switch] exchanges them in one transaction: readers see the new one, and
// the old one ends with [ErrSwitched], also where it is started again.
package projection

import (
	"context"
	"errors"
	"fmt"
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
	lockCheckpoint = `SELECT boundary, transaction_id, global_id, coalesce(replaced_by, '') FROM orisun_projection
	WHERE name = $1 FOR UPDATE`
	moveCheckpoint = `UPDATE orisun_projection SET transaction_id = $2, global_id = $3, updated_at = now()
	WHERE name = $1`
	replaceProjection = `UPDATE orisun_projection SET replaced_by = $2, updated_at = now() WHERE name = $1`
)

// progressInterval is how often the progress is read.
const progressInterval = time.Second

// ErrSwitched ends a projection that another one has replaced by [Switch]. Its name cannot be used again, unless its
// row in orisun_projection is deleted.
var ErrSwitched = errors.New("the projection is replaced")

// ErrBehind is the error of [Switch] while the new projection has not applied what the live one has.
var ErrBehind = errors.New("the new projection is behind the live one")

// Config is a projection.
type Config[T any] struct {
	// Name is that of the checkpoint, and of the subscription: of several processes that run the projection, one applies
	// events and the others stand by.
	Name     string
	Boundary string
	// Criteria are those of the events to apply; nil are all.
	Criteria client.Criteria
	// Apply applies one event by a transaction, which commits with the checkpoint. Its error ends Run.
	Apply func(ctx context.Context, tx T, event client.Event) error
	// Progress, where it is set, is called once a second if it has changed since, between two events.
	Progress func(Progress)
}

// Progress is how far a projection is.
type Progress struct {
	// Position is the checkpoint. Once all events that match are applied, it is that of the boundary's latest event.
	Position client.Position
	// Applied is how many events this Run has applied, and Rate how many a second.
	Applied int64
	Rate    float64
	// Left is how many events of the boundary lie after Position, whether they match or not, and TimeLeft how long the
	// projection takes to reach the latest one at this speed; 0 where that is not known.
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

// Setup creates the table of checkpoints, orisun_projection, where it is missing. Run does so, too.
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

// Run applies events until its context ends, or with the first error of Apply, of the database or of the subscription
// that does not heal. Run again, it continues after the last event that was applied.
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
	defer watching.Wait()
	defer end(nil)
	watching.Go(func() { end(r.watch(following)) })
	err := r.follow(following)
	if ctx.Err() == nil && following.Err() != nil {
		return context.Cause(following) // why watch ended
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
	failed  error // of a transaction: none begins after it
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

// apply applies an event, unless another process did so in the moment before it lost the subscription's name.
func (r *run[T]) apply(ctx context.Context, event client.Event) error {
	return r.transact(ctx, func(user T, tx statements) error {
		at, err := read(ctx, tx, r.config.Name)
		if err := errors.Join(err, at.live()); err != nil || event.Position.Compare(at.position) <= 0 {
			return err
		}
		if err := r.config.Apply(ctx, user, event); err != nil {
			return err
		}
		r.applied++
		return tx.exec(ctx, moveCheckpoint, r.config.Name, event.Position.TransactionID, event.Position.GlobalID)
	})
}

// watch reports the progress, until its context ends or with the first error that does not heal.
func (r *run[T]) watch(ctx context.Context) error {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	var last Progress
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		progress, err := r.progress(ctx)
		switch {
		case errors.Is(err, client.ErrUnavailable): // Follow waits for the server, too
		case err != nil:
			return err
		case progress.Position != last.Position || progress.Left != last.Left:
			last = progress
			r.report(progress)
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

// progress moves the checkpoint, too: to the boundary's latest event, where none up to it is left to apply.
func (r *run[T]) progress(ctx context.Context) (p Progress, err error) {
	latest, err := r.one(ctx, nil, client.Backward())
	if err != nil {
		return p, err
	}
	if err := r.transact(ctx, func(_ T, tx statements) error {
		at, err := read(ctx, tx, r.config.Name)
		p.Position, p.Applied = at.position, r.applied
		return errors.Join(err, at.live())
	}); err != nil {
		return p, err
	}
	if latest.Compare(p.Position) > 0 {
		next, err := r.one(ctx, r.config.Criteria, client.After(p.Position))
		if err != nil {
			return p, err
		}
		if next.IsStart() || next.Compare(latest) > 0 {
			if err := r.pass(ctx, p.Position, latest); err != nil {
				return p, err
			}
			p.Position = latest
		}
	}
	p.Left = max(0, latest.GlobalID-p.Position.GlobalID)
	seconds := time.Since(r.begun).Seconds()
	p.Rate = float64(p.Applied) / seconds
	if passed := p.Position.GlobalID - r.first.GlobalID; passed > 0 {
		p.TimeLeft = time.Duration(float64(p.Left) / float64(passed) * seconds * float64(time.Second))
	}
	return p, nil
}

// one is the position of the first event that Get returns; the start, where there is none.
func (r *run[T]) one(ctx context.Context, criteria client.Criteria, where client.GetOption) (client.Position, error) {
	for event, err := range r.client.Get(ctx, r.config.Boundary, criteria, where, client.Limit(1)) {
		return event.Position, err
	}
	return client.Position{}, nil
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
	at := checkpoint{name: name}
	found, err := tx.find(ctx, lockCheckpoint, name,
		&at.boundary, &at.position.TransactionID, &at.position.GlobalID, &at.replacedBy)
	if err == nil && !found {
		err = fmt.Errorf("there is no projection %q in orisun_projection", name)
	}
	return at, err
}

// Switch replaces the projection live by next: it calls exchange, which renames tables or replaces views, and marks
// live as replaced, all in one transaction. Neither projection applies an event meanwhile, and Run of live ends with
// [ErrSwitched], now and whenever it is started again. It fails with [ErrBehind] while next has not applied what live
// has. Both keep their names: the version after that one needs a third.
func Switch[T any](
	ctx context.Context,
	store Store[T],
	live, next string,
	exchange func(ctx context.Context, tx T) error,
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
