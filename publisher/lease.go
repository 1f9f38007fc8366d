package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sethvargo/go-retry"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/pgsession"
)

// PublisherLease is the name under which the publisher of a boundary holds its lease.
const PublisherLease = "publisher"

var (
	// ErrHeld says that the lease is held already: by another node, or by another part of this one.
	ErrHeld = errors.New("the lease is held elsewhere")
	// errContended says that another session decides about the same name at this moment, so that this one does not
	// stand by yet.
	errContended = fmt.Errorf("%w: another session decides about it", ErrHeld)
	// ErrLost says that the lease connection is down, and every lease of this node with it. It is the cause of a
	// Lease's context.
	ErrLost = errors.New("the lease connection is lost")
	// ErrReleased says that a lease was given up by Release. It is the cause of a Lease's context.
	ErrReleased = errors.New("the lease is released")
)

// leasePoll is how often a standby looks whether the lease of a publisher is free. Of all others the heartbeat finds
// those that are free.
const leasePoll = time.Second

// Owner is the user to whom a name belongs while it is held or stood by. The zero Owner is the server itself.
type Owner struct {
	User string
	// MayTakeAny lets this user stand by for the names of other users.
	MayTakeAny bool
}

// Leases holds any number of leases on one PostgreSQL connection. A lease is exclusive in the cluster: among the nodes,
// as it is an advisory lock of the connection's session, and within the node, as there is one Lease value for each.
//
// Losing the connection loses all leases at once: their contexts end with ErrLost, and PostgreSQL ends the session and
// its locks. The connection is tested every second, so that both sides notice a dead one within about five. A node that
// is stopped keeps its connection, and sends nothing: the others notice, and have PostgreSQL end its session after as
// long. What happens in between is the reason why a publisher also fences by the stream's sequence. Its methods are
// safe for concurrent use.
type Leases struct {
	config *pgx.ConnConfig
	log    *slog.Logger

	mu      sync.Mutex
	session *session // nil while there is no connection
	waiting map[leaseKey]*leaseWait
}

// leaseWait is what those have in common that wait for one lease in this node.
type leaseWait struct {
	waiters int
	changed chan struct{} // closed, and another one put in its place, when the lease may have become free
}

// NewLeases returns leases on a connection that Run will make with a copy of config, and with settings of our own.
func NewLeases(config *pgx.ConnConfig, log *slog.Logger) *Leases {
	config = config.Copy()
	pgsession.Prepare(config, pgsession.Leases)
	config.ConnectTimeout = statementLimit
	prepare := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if err := prepare(ctx, conn); err != nil {
			return err
		}
		return conn.ExecParams(ctx, db.BeginLeases, nil, nil, nil, nil).Read().Err
	}
	return &Leases{config: config, log: log, waiting: make(map[leaseKey]*leaseWait)}
}

// Run keeps the connection until ctx ends, then closes it, which ends all leases. It connects again, for as long as it
// takes.
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
			l.log.Error("PostgreSQL cannot be reached, or refuses connections: saves, reads and publishing wait for it, and "+
				"other nodes may take this one's locks", "error", err, "lost", lost)
			outageLogged = true
		case err == nil && outageLogged:
			l.log.Info("PostgreSQL answers again", "away", time.Since(lostAt))
		case err == nil && lost != nil:
			l.log.Warn("the connection that holds this node's locks broke, and there is another one; other nodes may have "+
				"taken the locks meanwhile", "error", lost)
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
	s := newSession(conn, l)
	l.replace(s)
	s.watch(ctx, l.log)
	l.replace(nil)
	return s.close()
}

func (l *Leases) replace(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	for _, w := range l.waiting {
		w.wake()
	}
}

// wake makes the waiters of a lease try at once.
func (l *Leases) wake(key leaseKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.waiting[key]; w != nil {
		w.wake()
	}
}

func (w *leaseWait) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (l *Leases) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// isAwaited says whether a waiter of this node stands by for a lease.
func (l *Leases) isAwaited(key leaseKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[key] != nil
}

// standBy counts a waiter of a lease.
func (l *Leases) standBy(key leaseKey) *leaseWait {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting[key]
	if w == nil {
		w = &leaseWait{changed: make(chan struct{})}
		l.waiting[key] = w
	}
	w.waiters++
	return w
}

// endStandBy ends what standBy began. Where the lease was not taken, the name stops to belong to its user with the last
// waiter.
func (l *Leases) endStandBy(key leaseKey, w *leaseWait, taken bool) {
	l.mu.Lock()
	w.waiters--
	last := w.waiters == 0
	if last {
		delete(l.waiting, key)
	}
	s := l.session
	l.mu.Unlock()
	if last && !taken && s != nil && key.name != PublisherLease {
		s.withdraw(key)
	}
}

// changedOf is closed when the lease may have become free.
func (l *Leases) changedOf(w *leaseWait) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.changed
}

// TryAcquire takes the lease of a name in a boundary, or says at once why not: ErrHeld, ErrLost, the context's end, or
// what PostgreSQL says (OR001 for an unknown boundary). Names: PublisherLease, "projector/<name>", "subscriber/<name>".
func (l *Leases) TryAcquire(ctx context.Context, boundary, name string) (*Lease, error) {
	return l.try(ctx, leaseKey{boundary, name}, Owner{}, false)
}

func (l *Leases) try(ctx context.Context, key leaseKey, owner Owner, standBy bool) (*Lease, error) {
	s := l.current()
	if s == nil {
		return nil, ErrLost
	}
	lease := &Lease{leases: l, session: s, key: key, owner: owner}
	if err := s.take(ctx, lease, standBy); err != nil {
		return nil, err
	}
	return lease, nil
}

// Acquire waits until it has the lease: it tries when this node releases it, and when the look of each second finds it
// free. Its errors are those of TryAcquire but ErrHeld and ErrLost, which it waits out.
func (l *Leases) Acquire(ctx context.Context, boundary, name string) (*Lease, error) {
	return l.acquire(ctx, leaseKey{boundary, name}, Owner{}, func(error) {})
}

// AcquireFor is Acquire for a user, to whom the name belongs while it is held or stood by. Where it belongs to another
// one, the error is OR030. It calls waits before each wait.
func (l *Leases) AcquireFor(ctx context.Context, boundary, name string, owner Owner, waits func()) (*Lease, error) {
	return l.acquire(ctx, leaseKey{boundary, name}, owner, func(error) { waits() })
}

// acquire is Acquire that reports each ErrHeld and ErrLost.
func (l *Leases) acquire(ctx context.Context, key leaseKey, owner Owner, report func(error)) (lease *Lease, err error) {
	w := l.standBy(key)
	defer func() { l.endStandBy(key, w, lease != nil) }()
	poll := time.NewTicker(leasePoll)
	defer poll.Stop()
	for {
		changed := l.changedOf(w)
		lease, err = l.try(ctx, key, owner, true)
		if !errors.Is(err, ErrHeld) && !errors.Is(err, ErrLost) {
			return lease, err
		}
		report(err)
		var due <-chan time.Time
		if key.name == PublisherLease || errors.Is(err, errContended) {
			due = poll.C
		}
		select {
		case <-changed:
		case <-due:
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
	owner   Owner

	ctx    context.Context
	cancel context.CancelCauseFunc
}

type leaseKey struct{ boundary, name string }

// Context ends with the lease; its cause is ErrLost or ErrReleased. It does not end with the context given to Acquire.
func (l *Lease) Context() context.Context { return l.ctx }

// Do runs a statement on the very connection that holds the lease: where it succeeds, no other session held the lease
// meanwhile. Do waits for the turn of this statement until ctx ends; a statement that has begun is not cancelled by ctx
// but by its own limit of two seconds, since a cancelled one would cost all others their leases. It fails with ErrLost
// or ErrReleased when the lease has ended.
func (l *Lease) Do(ctx context.Context, statement func(context.Context, db.DBTX) error) error {
	return l.session.do(ctx, func(ctx context.Context, tx db.DBTX) error {
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		return statement(ctx, tx)
	})
}

// Release gives the lease up; the next one has it at once on this node, within a second on another. More calls do
// nothing.
func (l *Lease) Release() {
	if l.ctx.Err() != nil {
		return
	}
	l.cancel(ErrReleased)
	l.session.giveBack(l)
	l.leases.wake(l.key)
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
