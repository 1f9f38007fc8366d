package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/publisher"
)

// newLeases is one node's leases, running until the test ends.
func newLeases(t *testing.T, config *pgx.ConnConfig) (leases *publisher.Leases, stop func()) {
	t.Helper()
	leases = publisher.NewLeases(config, logTo(t))
	stop = inBackground(t, leases.Run)
	t.Cleanup(stop)
	return leases, stop
}

func leaseDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "a")
	pgtest.Boundary(t, pool, "b")
	return pool
}

func acquire(t *testing.T, leases *publisher.Leases, boundary, name string) *publisher.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	lease, err := leases.Acquire(ctx, boundary, name)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// wait acquires in the background; the channel gets no lease where that fails.
func wait(t *testing.T, leases *publisher.Leases, boundary, name string) <-chan *publisher.Lease {
	t.Helper()
	acquired := make(chan *publisher.Lease, 1)
	go func() {
		defer close(acquired)
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		lease, err := leases.Acquire(ctx, boundary, name)
		if err != nil {
			t.Error(err)
			return
		}
		acquired <- lease
	}()
	return acquired
}

func refused(t *testing.T, leases *publisher.Leases, boundary, name string) {
	t.Helper()
	if lease, err := leases.TryAcquire(t.Context(), boundary, name); !errors.Is(err, publisher.ErrHeld) {
		t.Fatalf("lease %v, error %v, want ErrHeld", lease, err)
	}
}

func ends(t *testing.T, lease *publisher.Lease, cause error) {
	t.Helper()
	select {
	case <-lease.Context().Done():
	case <-time.After(testTimeout):
		t.Fatalf("the lease %v goes on", lease)
	}
	if got := context.Cause(lease.Context()); !errors.Is(got, cause) {
		t.Fatalf("the lease %v ended by %v, want %v", lease, got, cause)
	}
}

func TestALeaseIsHeldOnceInTheCluster(t *testing.T) {
	pool := leaseDatabase(t)
	first, _ := newLeases(t, pool.Config().ConnConfig)
	second, _ := newLeases(t, pool.Config().ConnConfig)

	for _, name := range []string{publisher.PublisherLease, "subscriber/billing"} {
		held := acquire(t, first, "a", name)
		acquire(t, second, "a", "another/"+name)
		other := acquire(t, second, "b", name)
		refused(t, second, "a", name)
		refused(t, first, "a", name) // PostgreSQL would give it to the same session again
		refused(t, first, "b", name)

		standby := wait(t, second, "a", name)
		held.Release()
		held.Release()
		taken := <-standby
		if taken == nil {
			return
		}
		ends(t, held, publisher.ErrReleased)
		refused(t, first, "a", name)
		taken.Release()
		other.Release()
	}
}

func TestWaitersOfOneNodeGetALeaseWithoutAPoll(t *testing.T) {
	pool := leaseDatabase(t)
	leases, _ := newLeases(t, pool.Config().ConnConfig)
	const waiters = 20
	var inside, most int
	var mu sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	for range waiters {
		group.Go(func() {
			lease := <-wait(t, leases, "a", "subscriber/x")
			if lease == nil {
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			runtime.Gosched()
			mu.Lock()
			inside--
			mu.Unlock()
			lease.Release()
		})
	}
	group.Wait()
	if most != 1 {
		t.Errorf("%d held the lease at once", most)
	}
	if took := time.Since(start); took > waiters*time.Second/2 {
		t.Errorf("%d in a row took %v: they wait for polls", waiters, took)
	}
}

func TestLosingTheConnectionLosesEveryLeaseAndAStandbyTakesOver(t *testing.T) {
	pool := leaseDatabase(t)
	first, _ := newLeases(t, pool.Config().ConnConfig)
	second, _ := newLeases(t, pool.Config().ConnConfig)
	held := []*publisher.Lease{acquire(t, first, "a", publisher.PublisherLease), acquire(t, first, "b", "subscriber/x")}
	standby := wait(t, second, "a", publisher.PublisherLease)

	kill(t, pool, held[0])
	eventually(t, "a statement fails", func() (bool, error) {
		err := held[0].Do(t.Context(), func(ctx context.Context, tx db.DBTX) error {
			_, err := tx.Exec(ctx, "SELECT 1")
			return err
		})
		if err != nil && !errors.Is(err, publisher.ErrLost) {
			t.Errorf("the first statement to fail: %v, want ErrLost", err)
		}
		return err != nil, err
	})
	for _, lease := range held {
		ends(t, lease, publisher.ErrLost)
		err := lease.Do(t.Context(), func(context.Context, db.DBTX) error {
			t.Error("a statement runs although the lease is lost")
			return nil
		})
		if !errors.Is(err, publisher.ErrLost) {
			t.Errorf("Do: %v", err)
		}
	}
	taken := <-standby
	if taken == nil {
		return
	}
	acquire(t, first, "b", "subscriber/x") // it has connected again
	taken.Release()
	acquire(t, first, "a", publisher.PublisherLease)
}

// kill ends the backend of a lease's connection.
func kill(t *testing.T, pool *pgxpool.Pool, lease *publisher.Lease) {
	t.Helper()
	var pid int
	err := lease.Do(t.Context(), func(ctx context.Context, tx db.DBTX) error {
		return tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
}

// A frozen connection neither delivers nor fails, like one whose other end lost its power.
type frozenConn struct {
	net.Conn
	frozen <-chan struct{}
}

func (c frozenConn) Write(b []byte) (int, error) {
	select {
	case <-c.frozen:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func TestADeadConnectionIsNoticed(t *testing.T) {
	pool := leaseDatabase(t)
	config := pool.Config().ConnConfig
	frozen := make(chan struct{})
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return frozenConn{conn, frozen}, err
	}
	leases, _ := newLeases(t, config)
	lease := acquire(t, leases, "a", publisher.PublisherLease)
	start := time.Now()
	close(frozen)
	ends(t, lease, publisher.ErrLost)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it took %v to notice", took)
	}
}

// A session that says nothing is what PostgreSQL sees of a node that is stopped: its kernel keeps the connection.
func TestASilentSessionLosesItsLeasesAndLivelyOnesKeepTheirs(t *testing.T) {
	pool := leaseDatabase(t)
	config := pool.Config().ConnConfig.Copy()
	config.RuntimeParams["application_name"] = "orisun leases"
	silent, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close(context.WithoutCancel(t.Context())) }) // PostgreSQL has closed it
	if held, err := db.New().TryLease(t.Context(), silent, db.TryLeaseParams{
		Boundary: "a", Name: publisher.PublisherLease,
	}); err != nil || !held {
		t.Fatalf("held: %t, %v", held, err)
	}
	start := time.Now()
	others, _ := newLeases(t, pool.Config().ConnConfig)
	standby, _ := newLeases(t, pool.Config().ConnConfig)
	stillHeld := []*publisher.Lease{
		acquire(t, others, "b", publisher.PublisherLease), acquire(t, standby, "b", "subscriber/x"),
	}
	acquire(t, standby, "a", publisher.PublisherLease)
	if took := time.Since(start); took < 4*time.Second || took > 12*time.Second {
		t.Errorf("a node that is stopped loses its leases after %v", took)
	}
	if err := silent.Ping(t.Context()); err == nil {
		t.Error("the silent session goes on")
	}
	for _, lease := range stillHeld {
		if err := lease.Context().Err(); err != nil {
			t.Errorf("%v was lost: %v", lease, context.Cause(lease.Context()))
		}
	}
}

func TestAStatementThatIsStuckOrCancelledLosesNoLease(t *testing.T) {
	pool := leaseDatabase(t)
	leases, _ := newLeases(t, pool.Config().ConnConfig)
	lease, other := acquire(t, leases, "a", publisher.PublisherLease), acquire(t, leases, "b", publisher.PublisherLease)
	move := func(ctx context.Context) error {
		return lease.Do(ctx, func(ctx context.Context, tx db.DBTX) error {
			return db.New().MovePublishedPosition(ctx, tx, db.MovePublishedPositionParams{
				Boundary: "a", TransactionID: 1, GlobalID: 0,
			})
		})
	}
	if err := move(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Another session's transaction holds the checkpoint.
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT orisun.move_published_position('a', 1, 0)"); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if err := move(t.Context()); !errors.As(err, &refused) || refused.Code != "55P03" {
		t.Errorf("a locked checkpoint: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	err = lease.Do(cancelled, func(ctx context.Context, tx db.DBTX) error {
		cancel()
		_, err := tx.Exec(ctx, "SELECT pg_sleep(0.01)")
		return err
	})
	if err != nil {
		t.Errorf("a statement that had begun: %v", err)
	}
	if err := move(t.Context()); err != nil || other.Context().Err() != nil {
		t.Errorf("afterwards: %v, other lease %v", err, context.Cause(other.Context()))
	}
}

func TestALeaseOfAnUnknownBoundaryIsAnError(t *testing.T) {
	pool := leaseDatabase(t)
	leases, stop := newLeases(t, pool.Config().ConnConfig)
	acquire(t, leases, "a", publisher.PublisherLease)
	var refused *pgconn.PgError
	if _, err := leases.Acquire(t.Context(), "nowhere", publisher.PublisherLease); !errors.As(err, &refused) ||
		refused.Code != "OR001" {
		t.Errorf("error %v", err)
	}
	stop()
	if _, err := leases.TryAcquire(t.Context(), "a", "subscriber/x"); !errors.Is(err, publisher.ErrLost) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTheManualShowsWhoPublishes(t *testing.T) {
	pool := leaseDatabase(t)
	leases, _ := newLeases(t, pool.Config().ConnConfig)
	acquire(t, leases, "b", publisher.PublisherLease)
	var name string
	err := pool.QueryRow(t.Context(),
		`SELECT b.name FROM pg_locks l JOIN orisun.boundary b ON b.number = l.objid::integer
		   JOIN pg_stat_activity a USING (pid)
		 WHERE l.locktype = 'advisory' AND l.classid = orisun.lease_class()::oid AND l.granted`).Scan(&name)
	if err != nil || name != "b" {
		t.Errorf("%q, %v", name, err)
	}
}

// wantState checks the SQLSTATE of an error.
func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != state {
		t.Errorf("error %v, want %s", err, state)
	}
}

// TestANameBelongsToTheUserWhoHoldsItOrStandsBy on two nodes.
func TestANameBelongsToTheUserWhoHoldsItOrStandsBy(t *testing.T) {
	pool := leaseDatabase(t)
	first, _ := newLeases(t, pool.Config().ConnConfig)
	second, _ := newLeases(t, pool.Config().ConnConfig)
	const name = "subscriber/billing"
	ann, bob, admin := publisher.Owner{User: "ann"}, publisher.Owner{User: "bob"},
		publisher.Owner{User: "admin", MayTakeAny: true}
	acquireFor := func(ctx context.Context, leases *publisher.Leases, owner publisher.Owner) <-chan *publisher.Lease {
		acquired := make(chan *publisher.Lease, 1)
		go func() {
			defer close(acquired)
			lease, err := leases.AcquireFor(ctx, "a", name, owner, func() {})
			if err == nil {
				acquired <- lease
			} else if ctx.Err() == nil {
				t.Error(err)
			}
		}()
		return acquired
	}
	// rows waits until so many sessions have a part in the name.
	rows := func(want int) {
		t.Helper()
		eventually(t, "the sessions that have a part in the name", func() (bool, error) {
			var n int
			err := pool.QueryRow(t.Context(), "SELECT count(*) FROM orisun.lease WHERE name = $1", name).Scan(&n)
			return n == want, err
		})
	}
	acquire(t, first, "a", publisher.PublisherLease) // both are connected
	acquire(t, second, "b", publisher.PublisherLease)
	held := <-acquireFor(t.Context(), first, ann)
	for _, leases := range []*publisher.Leases{first, second} {
		_, err := leases.AcquireFor(t.Context(), "a", name, bob, func() {})
		wantState(t, err, "OR030")
	}
	standby := acquireFor(t.Context(), second, ann)
	rows(2)
	held.Release()
	held = <-standby
	if held == nil {
		t.Fatal("the standby did not take over")
	}

	// An admin may stand by, and the name remains ann's as long as she does, too.
	waiting, leave := context.WithCancel(t.Context())
	standby = acquireFor(waiting, first, admin)
	annToo := acquireFor(waiting, second, ann)
	rows(2)
	held.Release()
	select { // of two that stand by either may be first
	case held = <-standby:
	case held = <-annToo:
	}
	_, err := first.AcquireFor(t.Context(), "a", name, bob, func() {})
	wantState(t, err, "OR030")
	leave()
	<-standby
	<-annToo
	held.Release()

	// No session uses it any more: it is free for all.
	rows(0)
	if held = <-acquireFor(t.Context(), second, bob); held != nil {
		held.Release()
	}
}

// TestAHolderThatIsKilledLosesItsNames: its session is what proves that it lives.
func TestAHolderThatIsKilledLosesItsNames(t *testing.T) {
	pool := leaseDatabase(t)
	first, stop := newLeases(t, pool.Config().ConnConfig)
	second, _ := newLeases(t, pool.Config().ConnConfig)
	held := acquire(t, first, "a", "subscriber/x")
	other := acquire(t, first, "a", "subscriber/y")
	standby := wait(t, second, "a", "subscriber/x")
	eventually(t, "the second node stands by", func() (standsBy bool, err error) {
		err = pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM orisun.lease WHERE name = 'subscriber/x' AND NOT held)").
			Scan(&standsBy)
		return standsBy, err
	})
	kill(t, pool, held)
	if lease := <-standby; lease == nil {
		t.Fatal("the standby did not take over")
	}
	ends(t, held, publisher.ErrLost)
	ends(t, other, publisher.ErrLost)
	acquire(t, second, "a", "subscriber/y")
	stop()

	third, _ := newLeases(t, pool.Config().ConnConfig)
	acquire(t, third, "b", "subscriber/z")
	var dead int
	if err := pool.QueryRow(t.Context(),
		"SELECT count(*) FROM orisun.lease l WHERE NOT orisun.is_lease_session(l.session)").Scan(&dead); err != nil ||
		dead != 0 {
		t.Errorf("%d leases of dead sessions are left, %v", dead, err)
	}
}

// TestManyNamesTakeNoLocks holds as many names as once filled PostgreSQL's lock table.
func TestManyNamesTakeNoLocks(t *testing.T) {
	pool := leaseDatabase(t)
	leases, _ := newLeases(t, pool.Config().ConnConfig)
	first := acquire(t, leases, "a", "subscriber/0")
	var pid int
	err := first.Do(t.Context(), func(ctx context.Context, tx db.DBTX) error {
		return tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid)
	})
	if err != nil {
		t.Fatal(err)
	}
	const names = 7_700
	for i := 1; i < names; i++ {
		acquire(t, leases, "a", fmt.Sprint("subscriber/", i))
	}
	var locks, rows int
	err = pool.QueryRow(t.Context(),
		"SELECT (SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype = 'advisory'), "+
			"(SELECT count(*) FROM orisun.lease WHERE held)", pid).Scan(&locks, &rows)
	if err != nil || locks != 1 || rows != names {
		t.Errorf("%d names take %d locks, %v", rows, locks, err)
	}
	_, err = pool.Exec(t.Context(),
		`SELECT orisun.insert_events_with_consistency('b', '{}', '[{"event_id": "1", "event_type": "T", "data": {}}]')`)
	if err != nil {
		t.Errorf("a save beside them: %v", err)
	}
	first.Release()
	acquire(t, leases, "a", "subscriber/0")
}
