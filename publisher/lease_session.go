package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oexza/orisun/db"
)

const (
	// heartbeat is how often a lease connection is tested, and looks at the other nodes' ones.
	heartbeat = time.Second
	// silentLooks is how many looks in a row must see nothing new of another node's session before it is ended. It has
	// missed as many heartbeats then. The kernel goes on to answer TCP for a process that is stopped (SIGSTOP, a frozen
	// container, a debugger): only this takes its leases away. Looks are counted, and no clocks compared, as
	// PostgreSQL's may jump; a node that was stopped itself has looked at nothing meanwhile.
	silentLooks = 5
	// statementLimit is when a statement that does not answer means that the connection is dead. PostgreSQL gives up
	// before (pgsession.Leases), so that a statement which merely waits for a lock is an error of that statement alone.
	statementLimit = 3 * time.Second
)

// session is one life of the lease connection.
type session struct {
	leases *Leases
	turn   chan struct{} // holds one token; who puts it in may use what follows
	conn   *pgx.Conn
	held   map[leaseKey]*Lease
	seen   map[string]int // marks of other nodes' sessions, and how many looks in a row saw each

	standsBy bool // some lease with a row was held elsewhere

	ctx context.Context // ends with the connection
	end context.CancelCauseFunc
}

func newSession(conn *pgx.Conn, leases *Leases) *session {
	s := &session{leases: leases, turn: make(chan struct{}, 1), conn: conn, held: map[leaseKey]*Lease{}}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	return s
}

// watch returns when the connection has failed or ctx has ended; then the session has ended.
func (s *session) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			s.end(fmt.Errorf("%w: %w", ErrLost, context.Cause(ctx)))
			return
		case <-tick.C:
			err := s.do(ctx, s.look)
			var answered *pgconn.PgError
			switch {
			case err == nil || ctx.Err() != nil:
			case errors.As(err, &answered) && s.ctx.Err() == nil:
				log.Warn("cannot look at the other nodes' leases; trying again", "error", err)
			default: // What fails otherwise has ended the session, unless a lack of turns did.
				s.end(fmt.Errorf("%w: %w", ErrLost, err))
			}
		}
	}
}

// look ends the sessions of nodes that are silent. An answer of PostgreSQL shows that this one is alive.
func (s *session) look(ctx context.Context, tx db.DBTX) error {
	var silent []string
	for mark, looks := range s.seen {
		if looks >= silentLooks {
			silent = append(silent, mark)
		}
	}
	marks, err := db.New().WatchLeases(ctx, tx, silent)
	if err != nil {
		return err
	}
	seen := make(map[string]int, len(marks))
	for _, mark := range marks {
		seen[mark] = s.seen[mark] + 1
	}
	s.seen = seen
	return s.findFree(ctx, tx)
}

// findFree wakes the waiters of leases that became free on other nodes: one statement for all of them.
func (s *session) findFree(ctx context.Context, tx db.DBTX) error {
	if !s.standsBy {
		return nil
	}
	free, err := db.New().FindFreeLeases(ctx, tx)
	if err != nil {
		return err
	}
	for _, f := range free {
		s.leases.wake(leaseKey{f.Boundary, f.Name})
	}
	return nil
}

// close returns why the session ended.
func (s *session) close() error {
	s.turn <- struct{}{} // a statement under way ends with the session's context
	defer func() { <-s.turn }()
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	cause := context.Cause(s.ctx)
	if err := s.conn.Close(ctx); err != nil {
		return fmt.Errorf("%w (closing it: %w)", cause, err)
	}
	return cause
}

// do runs a statement when its turn comes. A connection that breaks under it ends the session.
func (s *session) do(ctx context.Context, statement func(context.Context, db.DBTX) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	limited, cancel := context.WithTimeout(s.ctx, statementLimit)
	defer cancel()
	err := statement(limited, s.conn)
	if s.conn.IsClosed() {
		s.end(fmt.Errorf("%w: %w", ErrLost, err))
		return context.Cause(s.ctx)
	}
	return err
}

// take makes a lease held, or returns ErrHeld. PostgreSQL would give the same session the same advisory lock twice, so
// what this node holds is looked up first; whether a user may stand by for a name that another one holds on this node
// is PostgreSQL's to say.
func (s *session) take(ctx context.Context, lease *Lease, standBy bool) error {
	return s.do(ctx, func(ctx context.Context, tx db.DBTX) error {
		if held := s.held[lease.key]; held != nil && held.owner.User == lease.owner.User {
			return ErrHeld
		}
		held, err := db.New().TryLease(ctx, tx, db.TryLeaseParams{
			Boundary: lease.key.boundary, Name: lease.key.name, Owner: lease.owner.User, AnyOwner: lease.owner.MayTakeAny,
			StandBy: standBy,
		})
		if isLocked(err) {
			return errContended
		}
		if err != nil {
			return err
		}
		if !held {
			s.standsBy = true
			return ErrHeld
		}
		lease.ctx, lease.cancel = context.WithCancelCause(s.ctx)
		s.held[lease.key] = lease
		return nil
	})
}

// giveBack releases a lease; the name remains its user's where another one of this node stands by. Where that fails,
// only the end of the session surely releases it.
func (s *session) giveBack(lease *Lease) {
	err := s.do(s.ctx, func(ctx context.Context, tx db.DBTX) error {
		delete(s.held, lease.key)
		_, err := db.New().ReleaseLease(ctx, tx, db.ReleaseLeaseParams{
			Boundary: lease.key.boundary, Name: lease.key.name, StandBy: s.leases.isAwaited(lease.key),
		})
		return err
	})
	if err != nil {
		s.end(fmt.Errorf("%w: release the lease %s: %w", ErrLost, lease, err))
	}
}

// withdraw ends the standing by for a lease that nothing in this node holds or waits for. It may fail as giveBack.
func (s *session) withdraw(key leaseKey) {
	err := s.do(s.ctx, func(ctx context.Context, tx db.DBTX) error {
		if s.held[key] != nil || s.leases.isAwaited(key) {
			return nil
		}
		_, err := db.New().ReleaseLease(ctx, tx, db.ReleaseLeaseParams{Boundary: key.boundary, Name: key.name})
		return err
	})
	if err != nil && !isUnknownBoundary(err) {
		s.end(fmt.Errorf("%w: withdraw from the lease %s of %s: %w", ErrLost, key.name, key.boundary, err))
	}
}

func isLocked(err error) bool { return hasState(err, "55P03") }

func isUnknownBoundary(err error) bool { return hasState(err, "OR001") }

func hasState(err error, state string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == state
}
