package consumer

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// locked waits until as many sessions of the test's database wait for locks.
func locked(t *testing.T, pool *pgxpool.Pool, sessions int) {
	t.Helper()
	for waits := 0; waits < sessions; {
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
}

func execute(t *testing.T, tx pgx.Tx, statement string) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// countedReaders counts the readers that run.
type countedReaders struct{ running atomic.Int64 }

func (c *countedReaders) FollowLooking(ctx context.Context, boundary string, after *orisunpb.Position,
	criteria []*orisunpb.Criterion, deliver func(*orisunpb.Event) error, looked func(int64, int64, bool),
) error {
	c.running.Add(1)
	defer c.running.Add(-1)
	return threeEvents{}.FollowLooking(ctx, boundary, after, criteria, deliver, looked)
}

// TestAConsumerThatLeavesWhileItIsAssignedReadsNothing holds back the read of its checkpoints until it has left.
func TestAConsumerThatLeavesWhileItIsAssignedReadsNothing(t *testing.T) {
	pool, readers := subscribed(t), &countedReaders{}
	n := newNode(t, pool, readers, "node")
	tx := begin(t, pool)
	execute(t, tx, "LOCK TABLE orders_projector_checkpoint IN ACCESS EXCLUSIVE MODE")
	left, _ := join(t, n, "orders", "mails")
	locked(t, pool, 1)
	if err := n.Leave(left); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, responses := join(t, n, "orders", "mails") // it is assigned after the other one
	delivered(t, responses, 3)
	if running := readers.running.Load(); running != 1 {
		t.Errorf("%d readers run for one consumer", running)
	}
}

// TestAConsumerOfADeletedBoundaryLeaves has acknowledgements that can never be stored.
func TestAConsumerOfADeletedBoundaryLeaves(t *testing.T) {
	pool := subscribed(t)
	n, m, responses := joined(t, pool, "node")
	first := delivered(t, responses, 3)[0]
	n.saving.Lock() // nothing is stored before the boundary is deleted
	if _, err := m.Settle([]*orisunpb.Acknowledgement{{
		Partition: 0, Epoch: first.GetEpoch(), Positions: []*orisunpb.Position{first.GetEvent().GetPosition()},
	}}, nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := n.queries.DeleteBoundary(t.Context(), pool, db.DeleteBoundaryParams{
		Boundary: "orders", AdminBoundary: "admin", Actor: "test",
	}); err != nil {
		t.Error(err)
	}
	n.saving.Unlock()
	if err := n.Leave(m); err != nil {
		t.Log(err) // unless the client knows that the partition was revoked
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.leaving) > 0 || len(n.joined) > 0 {
		t.Errorf("%d consumers of the deleted boundary are still leaving, %d joined", len(n.leaving), len(n.joined))
	}
}

// TestPartitionsMoveWhileAnotherBoundaryCannotSave has a consumer whose checkpoints are refused, and one on the same
// node whose partition is to move to another node.
func TestPartitionsMoveWhileAnotherBoundaryCannotSave(t *testing.T) {
	pool := subscribed(t)
	if _, err := pool.Exec(t.Context(), `ALTER TABLE orders_projector_checkpoint
		ADD CONSTRAINT refused CHECK (global_id < 0) NOT VALID`); err != nil {
		t.Fatal(err)
	}
	subscribe(t, pool, "admin", "audit", 2)
	n := newNode(t, pool, threeEvents{}, "first")
	failing, stuck := join(t, n, "orders", "mails")
	all := delivered(t, stuck, 3)
	if _, err := failing.Settle([]*orisunpb.Acknowledgement{{
		Partition: 0, Epoch: all[0].GetEpoch(), Through: all[2].GetEvent().GetPosition(),
	}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	_, first := join(t, n, "admin", "audit")
	assigned(t, first, 2)
	_, second := join(t, newNode(t, pool, threeEvents{}, "second"), "admin", "audit")
	assigned(t, second, 1)
}

// assigned receives until a consumer is assigned a number of partitions.
func assigned(t *testing.T, responses chan *orisunpb.ConsumeResponse, count int) {
	t.Helper()
	for count > 0 {
		select {
		case in := <-responses:
			count -= len(in.GetAssigned().GetPartitions())
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// TestAPartitionThatIsMovingWhenItIsAssignedIsComparedAgain has a partition that is to move before its consumer knows
// that it has it.
func TestAPartitionThatIsMovingWhenItIsAssignedIsComparedAgain(t *testing.T) {
	pool := subscribed(t)
	subscribe(t, pool, "orders", "invoices", 2)
	n := newNode(t, pool, threeEvents{}, "first")
	m, first := join(t, n, "orders", "invoices")
	assigned(t, first, 2)
	n.Close() // from here on it reads when the test says so
	m.lose()
	member(t, pool, "invoices")
	stopped := 0
	for range 2 {
		clear(n.changed)
		if err := n.assign(t.Context(), m.group()); err != nil {
			t.Fatal(err)
		}
		stopped = 0
		m.mu.Lock()
		for _, p := range m.partitions {
			if p.stopped {
				stopped++
			}
		}
		m.mu.Unlock()
		if stopped == 0 && !n.changed[m.group()] {
			t.Fatal("a partition is moving, and no further comparison stops it")
		}
	}
	if stopped != 1 {
		t.Errorf("%d partitions are stopped", stopped)
	}
}

// TestACheckpointOfAnEarlierEpochIsFenced stores checkpoints of one partition in two epochs at once: of a consumer that
// holds it, and of one on the same node that held it before.
func TestACheckpointOfAnEarlierEpochIsFenced(t *testing.T) {
	pool := subscribed(t)
	n, m, responses := joined(t, pool, "node")
	epoch := delivered(t, responses, 3)[0].GetEpoch()
	before := &Member{node: n, def: m.def, partitions: make(map[int32]*partition), wake: make(chan struct{}, 1)}
	stale := newPartition(0, epoch-1, false, false, Position{-1, -1}, nil, nil)
	before.partitions[0] = stale
	m.mu.Lock()
	held := m.partitions[0]
	m.mu.Unlock()
	if held == nil {
		t.Fatal("the consumer holds nothing")
	}
	n.saving.Lock()
	err := n.saveEntries(t.Context(), "orders", []entry{
		{m: before, p: stale, at: Position{2, 1}, acknowledged: "{}", changed: true},
		{m: m, p: held, at: Position{-1, -1}, acknowledged: "{}"},
	})
	n.saving.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if before.partitions[0] != nil || !before.lost || m.partitions[0] != held {
		t.Errorf("the consumer from before holds %v, the present one %v", before.partitions, m.partitions)
	}
}

// TestAReleaseIsTriedAgainAfterASaveFailed has a partition whose release failed, and then checkpoints of the same
// boundary that cannot be stored: the release follows when both can be.
func TestAReleaseIsTriedAgainAfterASaveFailed(t *testing.T) {
	pool := subscribed(t)
	subscribe(t, pool, "orders", "invoices", 2)
	change := func(statement string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	until := func(reached func() bool) {
		t.Helper()
		for !reached() {
			if t.Context().Err() != nil {
				t.Fatal(t.Context().Err())
			}
		}
	}
	const release = `orisun.release_partitions(text, text, uuid, integer[], bigint[])`
	change("ALTER FUNCTION " + release + " RENAME TO release_partitions_later")
	n := newNode(t, pool, threeEvents{}, "first")
	mailer, mails := join(t, n, "orders", "mails")
	all := delivered(t, mails, 3)
	moving, first := join(t, n, "orders", "invoices")
	assigned(t, first, 2)
	_, second := join(t, newNode(t, pool, threeEvents{}, "second"), "orders", "invoices")
	until(func() bool {
		moving.mu.Lock()
		defer moving.mu.Unlock()
		return len(moving.releasing) > 0
	})
	change(`ALTER TABLE orders_projector_checkpoint ADD CONSTRAINT refused CHECK (global_id < 0) NOT VALID`)
	if _, err := mailer.Settle([]*orisunpb.Acknowledgement{{
		Partition: 0, Epoch: all[0].GetEpoch(), Through: all[2].GetEvent().GetPosition(),
	}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	until(func() bool {
		n.saving.Lock()
		defer n.saving.Unlock()
		return n.failing["orders"]
	})
	change("ALTER FUNCTION " + strings.Replace(release, "partitions", "partitions_later", 1) +
		" RENAME TO release_partitions")
	change(`ALTER TABLE orders_projector_checkpoint DROP CONSTRAINT refused`)
	assigned(t, second, 1)
}
