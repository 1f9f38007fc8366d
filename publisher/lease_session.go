package publisher

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
)

const (
	// keepAlive is how often an idle lease connection is tested.
	keepAlive = 2 * time.Second
	// statementLimit is when a statement that does not answer means that the connection is dead. PostgreSQL gives up before
	// (statement_timeout below), so that a statement which merely waits for a lock is an error of that statement alone.
	statementLimit = 3 * time.Second
)

// sessionSettings are what a lease connection asks of PostgreSQL.
var sessionSettings = map[string]string{
	"application_name":  "orisun leases",
	"statement_timeout": "2000",
	"lock_timeout":      "100", // a checkpoint that somebody has locked is not worth the others' time
	// A checkpoint that a crash of PostgreSQL takes back costs a look at the stream, not an event: it need not wait for the disk.
	"synchronous_commit": "off",
	// PostgreSQL notices a machine that vanished without a word, and frees its locks, within about five seconds. No effect on sockets.
	"tcp_keepalives_idle":     "2",
	"tcp_keepalives_interval": "1",
	"tcp_keepalives_count":    "3",
	"tcp_user_timeout":        "5000",
}

// heartbeatLimit is how long PostgreSQL keeps a session from which nothing comes, not even the ping of every two seconds. The kernel goes on to
// answer TCP for a process that is stopped (SIGSTOP, a frozen container, a debugger): only this takes its leases away.
const heartbeatLimit = 6 * time.Second

// limitSilence makes PostgreSQL end the session after heartbeatLimit without a statement. PostgreSQL 13 has no such setting: there a
// stopped process keeps its leases until it goes on or ends.
func limitSilence(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('idle_session_timeout', $1, false) WHERE current_setting('server_version_num')::integer >= 140000`,
		strconv.FormatInt(heartbeatLimit.Milliseconds(), 10))
	return err
}

// session is one life of the lease connection.
type session struct {
	turn chan struct{} // holds one token; who puts it in may use what follows
	conn *pgx.Conn
	held map[leaseKey]*Lease

	ctx context.Context // ends with the connection
	end context.CancelCauseFunc
}

func newSession(conn *pgx.Conn) *session {
	s := &session{turn: make(chan struct{}, 1), conn: conn, held: map[leaseKey]*Lease{}}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	return s
}

// watch returns when the connection has failed or ctx has ended; then the session has ended.
func (s *session) watch(ctx context.Context) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			s.end(fmt.Errorf("%w: %w", ErrLost, context.Cause(ctx)))
			return
		case <-tick.C:
			// What fails here has ended the session, unless ctx or a lack of turns did.
			if err := s.do(ctx, s.ping); err != nil && ctx.Err() == nil {
				s.end(fmt.Errorf("%w: %w", ErrLost, err))
			}
		}
	}
}

func (s *session) ping(ctx context.Context, _ db.DBTX) error { return s.conn.Ping(ctx) }

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

// take makes a lease held, or returns ErrHeld. PostgreSQL would give the same session the same lock twice, so what this node holds is
// looked up first.
func (s *session) take(ctx context.Context, lease *Lease) error {
	return s.do(ctx, func(ctx context.Context, tx db.DBTX) error {
		if s.held[lease.key] != nil {
			return ErrHeld
		}
		held, err := db.New().TryLease(ctx, tx, db.TryLeaseParams{Boundary: lease.key.boundary, Name: lease.key.name})
		if err != nil {
			return err
		}
		if !held {
			return ErrHeld
		}
		lease.ctx, lease.cancel = context.WithCancelCause(s.ctx)
		s.held[lease.key] = lease
		return nil
	})
}

// giveBack unlocks a lease. Where that fails, only the end of the session surely unlocks.
func (s *session) giveBack(lease *Lease) {
	err := s.do(s.ctx, func(ctx context.Context, tx db.DBTX) error {
		delete(s.held, lease.key)
		_, err := db.New().ReleaseLease(ctx, tx, db.ReleaseLeaseParams{Boundary: lease.key.boundary, Name: lease.key.name})
		return err
	})
	if err != nil {
		s.end(fmt.Errorf("%w: release the lease %s: %w", ErrLost, lease, err))
	}
}
