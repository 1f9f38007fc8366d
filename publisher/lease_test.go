package publisher_test

import (
	"context"
	"errors"
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
		ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	case <-time.After(patience):
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
	if held, err := db.New().TryLease(t.Context(), silent, db.TryLeaseParams{Boundary: "a", Name: publisher.PublisherLease}); err != nil || !held {
		t.Fatalf("held: %t, %v", held, err)
	}
	start := time.Now()
	lively, _ := newLeases(t, pool.Config().ConnConfig)
	standby, _ := newLeases(t, pool.Config().ConnConfig)
	kept := []*publisher.Lease{acquire(t, lively, "b", publisher.PublisherLease), acquire(t, standby, "b", "subscriber/x")}
	acquire(t, standby, "a", publisher.PublisherLease)
	if took := time.Since(start); took < 4*time.Second || took > 12*time.Second {
		t.Errorf("a node that is stopped loses its leases after %v", took)
	}
	if err := silent.Ping(t.Context()); err == nil {
		t.Error("the silent session goes on")
	}
	for _, lease := range kept {
		if err := lease.Context().Err(); err != nil {
			t.Errorf("%v was lost: %v", lease, context.Cause(lease.Context()))
		}
	}
}

func TestAStatementThatIsStuckOrCancelledCostsNobodyALease(t *testing.T) {
	pool := leaseDatabase(t)
	leases, _ := newLeases(t, pool.Config().ConnConfig)
	lease, other := acquire(t, leases, "a", publisher.PublisherLease), acquire(t, leases, "b", publisher.PublisherLease)
	move := func(ctx context.Context) error {
		return lease.Do(ctx, func(ctx context.Context, tx db.DBTX) error {
			return db.New().MovePublishedPosition(ctx, tx, db.MovePublishedPositionParams{Boundary: "a", TransactionID: 1, GlobalID: 0})
		})
	}
	if err := move(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Somebody else's transaction holds the checkpoint.
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
	if _, err := leases.Acquire(t.Context(), "nowhere", publisher.PublisherLease); !errors.As(err, &refused) || refused.Code != "OR001" {
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
	err := pool.QueryRow(t.Context(), `SELECT b.name FROM pg_locks l JOIN orisun.boundary b ON b.number = l.objid::integer JOIN pg_stat_activity a USING (pid)
		 WHERE l.locktype = 'advisory' AND l.classid = orisun.lease_class()::oid AND l.granted`).Scan(&name)
	if err != nil || name != "b" {
		t.Errorf("%q, %v", name, err)
	}
}
