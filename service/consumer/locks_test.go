package consumer

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
)

// member is a consumer in PostgreSQL without a server.
func member(t *testing.T, pool *pgxpool.Pool, subscription string) {
	t.Helper()
	queries, node := db.New(), uuid.NewString()
	if _, err := queries.RenewSubscriptionNode(t.Context(), pool, db.RenewSubscriptionNodeParams{
		Node: node, NextNode: node, Name: "node",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := queries.JoinSubscription(t.Context(), pool, db.JoinSubscriptionParams{
		Boundary: "orders", Subscription: subscription, Member: uuid.NewString(), Node: node, ConsumerLimit: 2,
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSessionsThatChangeSubscriptionsDoNotWaitForEachOther has each change wait for a lock, and looks whether it holds
// already what another session locks after that one.
func TestSessionsThatChangeSubscriptionsDoNotWaitForEachOther(t *testing.T) {
	const (
		firstPartition = `SELECT FROM orisun.subscription_partition WHERE subscription = 'invoices' AND partition = 0
			FOR UPDATE`
		secondPartition = `SELECT FROM orisun.subscription_partition WHERE subscription = 'invoices' AND partition = 1
			FOR UPDATE NOWAIT`
		subscriptionRow = "SELECT FROM orisun.subscription WHERE name = 'invoices' FOR UPDATE"
		adminPositions  = "SELECT orisun.lock_positions((orisun.find_boundary('admin')).number)"
		nodes           = "SELECT FROM orisun.subscription_node FOR UPDATE NOWAIT"
		deletion        = "SELECT orisun.delete_subscription('orders', 'invoices', 'admin', 'test')"
		reset           = "SELECT orisun.reset_subscription('orders', 'invoices', -1, -1, 'admin', 'test')"
		drop            = "SELECT orisun.delete_boundary('orders', 'admin', 'test')"
	)
	for name, test := range map[string]struct{ held, change, later string }{
		"a deletion and the lease": {adminPositions, deletion, nodes},
		"a reset and the lease":    {adminPositions, reset, nodes},
		"parking and a deletion": {
			subscriptionRow,
			"SELECT orisun.park_event('orders', 'invoices', 1, 1, 0, '', 'no', 1, 10)", secondPartition,
		},
		"checkpoints": {
			firstPartition,
			`SELECT * FROM orisun.save_checkpoints('orders', '{invoices,invoices}', '{1,0}', '{1,1}', '{1,1}', '{0,0}',
				'{"{}","{}"}', '{-1,-1}', 1)`, secondPartition,
		},
		"a deletion": {firstPartition, deletion, secondPartition},
		"a reset":    {firstPartition, reset, secondPartition},
		"a join": {firstPartition, `SELECT orisun.join_subscription('orders', 'invoices', gen_random_uuid(),
			(SELECT node FROM orisun.subscription_node), '', '', '', 2)`, secondPartition},
		"a leave": {firstPartition, `SELECT orisun.leave_subscription('orders', 'invoices',
			(SELECT member FROM orisun.subscription_member))`, secondPartition},
		"a release": {firstPartition, `SELECT orisun.release_partitions('orders', 'invoices',
			(SELECT member FROM orisun.subscription_member), '{1,0}', '{1,1}')`, secondPartition},
		"a lease that ended": {firstPartition, `UPDATE orisun.subscription_node SET expired = true;
			SELECT orisun.remove_subscription_nodes()`, secondPartition},
		"a deletion of the boundary and a list": {
			"SELECT FROM orders_projector_checkpoint", drop,
			"LOCK TABLE orders_orisun_es_event IN ACCESS SHARE MODE NOWAIT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := subscribed(t)
			subscribe(t, pool, "orders", "invoices", 2)
			member(t, pool, "invoices")
			changer, holder := begin(t, pool), begin(t, pool)
			// The first partition is stored behind the second one.
			if _, err := pool.Exec(t.Context(), `UPDATE orisun.subscription_partition SET saved = 0
				WHERE subscription = 'invoices' AND partition = 0`); err != nil {
				t.Error(err)
			}
			execute(t, holder, test.held)
			changed := make(chan error, 1)
			go func() {
				_, err := changer.Conn().PgConn().Exec(t.Context(), test.change).ReadAll()
				changed <- err
			}()
			locked(t, pool, 1)
			execute(t, holder, test.later)
			if err := holder.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-changed; err != nil {
				t.Error(err)
			}
			if err := changer.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestADeletionOfABoundaryWaitsForChangesOfItsSubscriptions stops a change in the middle, begins to delete the boundary
// in another session, and lets the change go on.
func TestADeletionOfABoundaryWaitsForChangesOfItsSubscriptions(t *testing.T) {
	const (
		partition = "SELECT FROM orisun.subscription_partition WHERE subscription = 'mails' FOR UPDATE"
		sameName  = `INSERT INTO orisun.subscription VALUES ('orders', 'new', '[]', '', 1, 60000, 5, false)`
	)
	for name, test := range map[string]struct{ held, change string }{
		"a creation": {sameName, `SELECT orisun.create_subscription('orders', 'new', '[]', '', 1, 60000, 5, false, -1, -1,
			10, 'admin', 'test')`},
		"a deletion": {partition, "SELECT orisun.delete_subscription('orders', 'mails', 'admin', 'test')"},
		"a reset":    {partition, "SELECT orisun.reset_subscription('orders', 'mails', -1, -1, 'admin', 'test')"},
		"checkpoints": {partition, `SELECT * FROM orisun.save_checkpoints('orders', '{mails}', '{0}', '{1}', '{1}', '{0}',
			'{"{}"}', '{-1}', 1)`},
	} {
		t.Run(name, func(t *testing.T) {
			pool := subscribed(t)
			member(t, pool, "mails")
			holder := begin(t, pool)
			execute(t, holder, test.held)
			ended := make(chan error, 2)
			for i, statement := range []string{test.change, "SELECT orisun.delete_boundary('orders', 'admin', 'test')"} {
				go func() {
					_, err := pool.Exec(t.Context(), statement)
					ended <- err
				}()
				locked(t, pool, i+1)
			}
			if err := holder.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			var left int
			if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM orisun.subscription)
				+ (SELECT count(*) FROM orisun.boundary WHERE name = 'orders')`).Scan(&left); err != nil || left != 0 {
				t.Errorf("%d rows of the boundary are left, %v", left, err)
			}
		})
	}
}

// TestASubscriptionIsNotCreatedInABoundaryThatIsBeingDeleted begins the creation while the deletion is not committed.
func TestASubscriptionIsNotCreatedInABoundaryThatIsBeingDeleted(t *testing.T) {
	pool := subscribed(t)
	deletion := begin(t, pool)
	execute(t, deletion, "SELECT orisun.delete_boundary('orders', 'admin', 'test')")
	created := make(chan error, 1)
	go func() {
		_, err := pool.Exec(t.Context(), `SELECT orisun.create_subscription('orders', 'new', '[]', '', 1, 60000, 5, false,
			-1, -1, 10, 'admin', 'test')`)
		created <- err
	}()
	locked(t, pool, 1)
	if err := deletion.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if err := <-created; !errors.As(err, &refused) || refused.Code != "OR001" {
		t.Errorf("%v, want OR001: there is no such boundary", err)
	}
}

// TestATransactionByHandMayDeadlockWithADeletionOfItsBoundary reads a table of events and then stores one, while the
// boundary is being deleted: as docs/dba.md says, PostgreSQL ends one of the two.
func TestATransactionByHandMayDeadlockWithADeletionOfItsBoundary(t *testing.T) {
	for name, store := range map[string]string{
		"a save": `SELECT orisun.insert_events_with_consistency('orders', '{}',
			'[{"event_id": "e", "event_type": "T", "data": {}}]')`,
		"an INSERT": `INSERT INTO orders_orisun_es_event (event_id, event_type, data) VALUES ('e', 'T', '{}')`,
	} {
		t.Run(name, func(t *testing.T) {
			pool := subscribed(t)
			person := begin(t, pool)
			execute(t, person, "SELECT FROM orders_orisun_es_event")
			deleted := make(chan error, 1)
			go func() {
				_, err := pool.Exec(t.Context(), "SELECT orisun.delete_boundary('orders', 'admin', 'test')")
				deleted <- err
			}()
			locked(t, pool, 1)
			_, err := person.Exec(t.Context(), store)
			if err := person.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			deletion := <-deleted
			var ended *pgconn.PgError
			if (err == nil) == (deletion == nil) || !errors.As(errors.Join(err, deletion), &ended) || ended.Code != "40P01" {
				t.Errorf("the store ends with %v, the deletion with %v; want 40P01 for one of them", err, deletion)
			}
		})
	}
}
