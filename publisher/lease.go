package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sethvargo/go-retry"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/pgsession"
)

// PublisherLease is the name under which the publisher of a boundary holds its lease.
const PublisherLease = "publisher"

var (
	// ErrHeld says that somebody else holds the lease: another node, or another part of this one.
	ErrHeld = errors.New("the lease is held elsewhere")
	// ErrLost says that the lease connection is down, and every lease of this node with it. It is the cause of a Lease's context.
	ErrLost = errors.New("the lease connection is lost")
	// ErrReleased says that a lease was given up by Release. It is the cause of a Lease's context.
	ErrReleased = errors.New("the lease is released")
)

// leasePoll is how often a standby looks whether a lease is free.
const leasePoll = time.Second

// Leases holds any number of leases on one PostgreSQL connection. A lease is exclusive in the cluster: among the nodes, as it is an
// advisory lock of the connection's session, and within the node, as there is one Lease value for each.
//
// Losing the connection loses all leases at once: their contexts end with ErrLost, and PostgreSQL ends the session and its locks. The
// connection is tested every second, so that both sides notice a dead one within about five. A node that is stopped keeps its connection, and sends nothing:
// the others notice, and have PostgreSQL end its session after as long. What happens in between is the reason why a publisher also fences by the
// stream's sequence. Its methods are safe for concurrent use.
type Leases struct {
	config *pgx.ConnConfig
	log    *slog.Logger

	mu      sync.Mutex
	session *session      // nil while there is no connection
	changed chan struct{} // closed, and another one put in its place, when a lease may have become free
}

// NewLeases returns leases on a connection that Run will make with a copy of config, and with settings of our own.
func NewLeases(config *pgx.ConnConfig, log *slog.Logger) *Leases {
	config = config.Copy()
	pgsession.Prepare(config, pgsession.Leases)
	config.ConnectTimeout = statementLimit
	return &Leases{config: config, log: log, changed: make(chan struct{})}
}

// Run keeps the connection until ctx ends, then closes it, which ends all leases. It connects again, for as long as it takes.
func (l *Leases) Run(ctx context.Context) error {
	var lost error       // why the last connection ended, until there is another one
	var lostAt time.Time // when it did
	var outageLogged bool
	for backoff := newBackoff(); ctx.Err() == nil; pause(ctx, backoff) {
		conn, err := l.connect(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !outageLogged:
			if lost == nil {
				lostAt = time.Now()
			}
			l.log.Error("PostgreSQL cannot be reached, or refuses connections: saves, reads and publishing wait for it, and other nodes may take this one's locks",
				"error", err, "lost", lost)
			outageLogged = true
		case err == nil && outageLogged:
			l.log.Info("PostgreSQL answers again", "away", time.Since(lostAt))
		case err == nil && lost != nil:
			l.log.Warn("the connection that holds this node's locks broke, and there is another one; other nodes may have taken the locks meanwhile", "error", lost)
		}
		if err == nil {
			backoff, outageLogged = newBackoff(), false
			lost = l.serve(ctx, conn)
			lostAt = time.Now()
		}
	}
	return nil
}

func (l *Leases) connect(ctx context.Context) (*pgx.Conn, error) {
	// Each of several hosts has its time, so that one that does not answer does not hide the next one.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(2+len(l.config.Fallbacks))*statementLimit)
	defer cancel()
	return pgx.ConnectConfig(ctx, l.config)
}

// serve lends out a connection until it fails or ctx ends.
func (l *Leases) serve(ctx context.Context, conn *pgx.Conn) error {
	s := newSession(conn)
	l.replace(s)
	s.watch(ctx, l.log)
	l.replace(nil)
	return s.close()
}

func (l *Leases) replace(s *session) {
	l.mu.Lock()
	l.session = s
	l.mu.Unlock()
	l.wake()
}

// wake makes those who wait for a lease look at once.
func (l *Leases) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Leases) current() (*session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.changed
}

// TryAcquire takes the lease of a name in a boundary, or says at once why not: ErrHeld, ErrLost, the context's end, or what PostgreSQL
// says (OR001 for an unknown boundary). Names: PublisherLease, "projector/<name>", "subscriber/<name>".
func (l *Leases) TryAcquire(ctx context.Context, boundary, name string) (*Lease, error) {
	s, _ := l.current()
	if s == nil {
		return nil, ErrLost
	}
	lease := &Lease{leases: l, session: s, key: leaseKey{boundary, name}}
	if err := s.take(ctx, lease); err != nil {
		return nil, err
	}
	return lease, nil
}

// Acquire waits until it has the lease, looking once a second, and at once when this node releases one. Others never wait for a
// waiter. Its errors are those of TryAcquire but ErrHeld and ErrLost, which it waits out.
func (l *Leases) Acquire(ctx context.Context, boundary, name string) (*Lease, error) {
	return l.acquire(ctx, boundary, name, func(error) {})
}

// acquire is Acquire that tells of each ErrHeld and ErrLost.
func (l *Leases) acquire(ctx context.Context, boundary, name string, tell func(error)) (*Lease, error) {
	poll := time.NewTicker(leasePoll)
	defer poll.Stop()
	for {
		_, changed := l.current()
		lease, err := l.TryAcquire(ctx, boundary, name)
		if !errors.Is(err, ErrHeld) && !errors.Is(err, ErrLost) {
			return lease, err
		}
		tell(err)
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Lease is held from Acquire to Release, or until the connection is lost.
type Lease struct {
	leases  *Leases
	session *session
	key     leaseKey

	ctx    context.Context
	cancel context.CancelCauseFunc
}

type leaseKey struct{ boundary, name string }

// Context ends with the lease; its cause is ErrLost or ErrReleased. It does not end with the context given to Acquire.
func (l *Lease) Context() context.Context { return l.ctx }

// Do runs a statement on the very connection that holds the lease: where it succeeds, nobody else held the lease meanwhile. Do waits for
// the turn of this statement until ctx ends; a statement that has begun is not cancelled by ctx but by its own limit of two seconds, since a
// cancelled one would cost all others their leases. It fails with ErrLost or ErrReleased when the lease has ended.
func (l *Lease) Do(ctx context.Context, statement func(context.Context, db.DBTX) error) error {
	return l.session.do(ctx, func(ctx context.Context, tx db.DBTX) error {
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		return statement(ctx, tx)
	})
}

// Release gives the lease up; the next one has it at once on this node, within a second on another. More calls do nothing.
func (l *Lease) Release() {
	if l.ctx.Err() != nil {
		return
	}
	l.cancel(ErrReleased)
	l.session.giveBack(l)
	l.leases.wake()
}

// String names the lease for messages.
func (l *Lease) String() string { return fmt.Sprintf("%s of %s", l.key.name, l.key.boundary) }

const (
	firstBackoff = 10 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// newBackoff spaces out attempts that fail in a row.
func newBackoff() retry.Backoff {
	return retry.WithCappedDuration(lastBackoff, retry.NewExponential(firstBackoff))
}

// pause waits for as long as a backoff says, or until ctx ends.
func pause(ctx context.Context, backoff retry.Backoff) {
	wait, _ := backoff.Next() // it never stops: nothing bounds the attempts
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
