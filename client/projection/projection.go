// Package projection applies the events of a subscription to tables of your own PostgreSQL. The checkpoint moves in the
// transaction that applies the event, so each event is applied exactly once, whatever ends in between.
//
//	store := projection.PGX(pool) // or projection.SQL(db)
//	err := projection.Run(ctx, c, store, projection.Config[pgx.Tx]{
//		Name: "balances", Boundary: "bank",
//		Apply: func(ctx context.Context, tx pgx.Tx, event client.Event) error { … },
//	})
//
// To rebuild a projection, run the new version under another name, with tables of its own, beside the live one. When
// [Progress.Left] is near 0, [Switch] exchanges them in one transaction.
package projection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oexza/orisun/client"
)

// The checkpoints, a row for each projection.
const createTable = `CREATE TABLE IF NOT EXISTS orisun_projection (
	name           text PRIMARY KEY,
	boundary       text NOT NULL,
	transaction_id bigint NOT NULL,
	global_id      bigint NOT NULL,
	updated_at     timestamptz NOT NULL DEFAULT now()
)`

const (
	insertCheckpoint = `INSERT INTO orisun_projection (name, boundary, transaction_id, global_id)
	VALUES ($1, $2, 0, 0) ON CONFLICT DO NOTHING`
	lockCheckpoint = `SELECT boundary, transaction_id, global_id FROM orisun_projection WHERE name = $1 FOR UPDATE`
	moveCheckpoint = `UPDATE orisun_projection SET transaction_id = $2, global_id = $3, updated_at = now()
	WHERE name = $1`
	deleteCheckpoint = `DELETE FROM orisun_projection WHERE name = $1`
)

// progressInterval is how often [Config.Progress] is called at most.
const progressInterval = time.Second

// ErrSwitched ends a projection that another one has replaced by [Switch].
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
	// Progress, where it is set, is called at most once a second, while events are applied.
	Progress func(Progress)
}

// Progress is how far a projection is.
type Progress struct {
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
	return store.transact(ctx, func(_ T, tx statements) error { return tx.exec(ctx, createTable) })
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
	position, err := begin(ctx, store, config)
	if err != nil {
		return err
	}
	meter := meter{first: position, begun: time.Now(), reported: time.Now()}
	options := []client.FollowOption{client.Since(position), client.As(config.Name)}
	for event, err := range c.Follow(ctx, config.Boundary, config.Criteria, options...) {
		if err != nil {
			return err
		}
		if err := apply(ctx, store, config, event); err != nil {
			return err
		}
		if meter.applied++; config.Progress != nil && time.Since(meter.reported) >= progressInterval {
			progress, err := meter.report(ctx, c, config.Boundary, event.Position)
			if err != nil {
				return err
			}
			config.Progress(progress)
		}
	}
	return nil // the loop ends by the returns above
}

// begin is the position of the checkpoint, which it creates for a new projection.
func begin[T any](ctx context.Context, store Store[T], config Config[T]) (position client.Position, err error) {
	err = store.transact(ctx, func(_ T, tx statements) error {
		if err := tx.exec(ctx, insertCheckpoint, config.Name, config.Boundary); err != nil {
			return err
		}
		var boundary string
		position, boundary, _, err = read(ctx, tx, config.Name)
		if err == nil && boundary != config.Boundary {
			return fmt.Errorf("the projection %q is of the boundary %q, not %q", config.Name, boundary, config.Boundary)
		}
		return err
	})
	return position, err
}

// apply applies an event, unless another process did so in the moment before it lost the subscription's name.
func apply[T any](ctx context.Context, store Store[T], config Config[T], event client.Event) error {
	return store.transact(ctx, func(user T, tx statements) error {
		position, _, found, err := read(ctx, tx, config.Name)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: %q", ErrSwitched, config.Name)
		case event.Position.Compare(position) <= 0:
			return nil
		}
		if err := config.Apply(ctx, user, event); err != nil {
			return err
		}
		return tx.exec(ctx, moveCheckpoint, config.Name, event.Position.TransactionID, event.Position.GlobalID)
	})
}

func read(
	ctx context.Context,
	tx statements,
	name string,
) (position client.Position, boundary string, found bool, err error) {
	found, err = tx.find(ctx, lockCheckpoint, name, &boundary, &position.TransactionID, &position.GlobalID)
	return position, boundary, found, err
}

// Switch replaces the projection live by next: it calls exchange, which renames tables or replaces views, and removes
// the checkpoint of live, all in one transaction. Neither projection applies an event meanwhile, and Run of live ends
// with [ErrSwitched]. It fails with [ErrBehind] while next has not applied what live has.
func Switch[T any](
	ctx context.Context,
	store Store[T],
	live, next string,
	exchange func(ctx context.Context, tx T) error,
) error {
	return store.transact(ctx, func(user T, tx statements) error {
		from, _, found, err := read(ctx, tx, live)
		if err != nil || !found {
			return errors.Join(err, fmt.Errorf("there is no projection %q", live))
		}
		to, _, found, err := read(ctx, tx, next)
		if err != nil || !found {
			return errors.Join(err, fmt.Errorf("there is no projection %q", next))
		}
		if to.Compare(from) < 0 {
			return fmt.Errorf("%w: %q is at %v, %q at %v", ErrBehind, next, to, live, from)
		}
		if err := exchange(ctx, user); err != nil {
			return err
		}
		return tx.exec(ctx, deleteCheckpoint, live)
	})
}

type meter struct {
	first           client.Position
	begun, reported time.Time
	applied         int64
}

func (m *meter) report(
	ctx context.Context,
	c *client.Client,
	boundary string,
	position client.Position,
) (Progress, error) {
	m.reported = time.Now()
	seconds := m.reported.Sub(m.begun).Seconds()
	p := Progress{Position: position, Applied: m.applied, Rate: float64(m.applied) / seconds}
	for latest, err := range c.Get(ctx, boundary, nil, client.Backward(), client.Limit(1)) {
		if err != nil {
			return Progress{}, err
		}
		p.Left = max(0, latest.Position.GlobalID-position.GlobalID)
	}
	if passed := position.GlobalID - m.first.GlobalID; passed > 0 {
		p.TimeLeft = time.Duration(float64(p.Left) / float64(passed) * seconds * float64(time.Second))
	}
	return p, nil
}
