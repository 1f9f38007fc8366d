package consumer

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// threeEvents is a feed of a boundary with three events.
type threeEvents struct{}

func (threeEvents) FollowLooking(ctx context.Context, _ string, after *orisunpb.Position, _ []*orisunpb.Criterion,
	deliver func(*orisunpb.Event) error, looked func(int64, int64, bool),
) error {
	for id := after.GetGlobalId() + 1; id < 3; id++ {
		if err := deliver(&orisunpb.Event{Position: &orisunpb.Position{TransactionId: id + 1, GlobalId: id}}); err != nil {
			return err
		}
	}
	looked(3, 2, true)
	<-ctx.Done()
	return ctx.Err()
}

func joined(t *testing.T, pool *pgxpool.Pool, name string) (*Node, *Member, chan *orisunpb.ConsumeResponse) {
	t.Helper()
	return joinedTo(t, pool, threeEvents{}, name)
}

func joinedTo(t *testing.T, pool *pgxpool.Pool, feed Feed, name string) (
	*Node, *Member, chan *orisunpb.ConsumeResponse,
) {
	t.Helper()
	n := newNode(t, pool, feed, name)
	m, responses := join(t, n, "orders", "mails")
	return n, m, responses
}

func newNode(t *testing.T, pool *pgxpool.Pool, feed Feed, name string) *Node {
	t.Helper()
	n := NewNode(Config{
		Pool: pool, Feed: feed, Name: name, MaxResponseBytes: 1 << 20, MaxConsumers: 2, MaxParked: 10,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	t.Cleanup(n.Close)
	return n
}

// join lets a consumer join and run.
func join(t *testing.T, n *Node, boundary, subscription string) (*Member, chan *orisunpb.ConsumeResponse) {
	t.Helper()
	rows, err := n.queries.ListSubscriptions(t.Context(), n.config.Pool, db.ListSubscriptionsParams{
		Boundary: boundary, Name: subscription,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := n.Join(t.Context(), Definition{
		Boundary: boundary, Name: subscription, Generation: rows[0].Generation.String(),
		Partitions: int(rows[0].Partitions), AckTimeout: time.Minute, MaxRefusals: 5,
	}, Client{Window: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stopReading)
	responses := make(chan *orisunpb.ConsumeResponse, 100)
	go func() {
		_ = m.Run(t.Context(), func(in *orisunpb.ConsumeResponse) error {
			responses <- in
			return nil
		})
	}()
	return m, responses
}

// delivered receives a number of deliveries.
func delivered(t *testing.T, responses chan *orisunpb.ConsumeResponse, count int) (all []*orisunpb.Delivery) {
	t.Helper()
	for len(all) < count {
		select {
		case in := <-responses:
			all = append(all, in.GetDeliveries().GetDeliveries()...)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	return all
}

// subscribed is a database with a subscription of one partition.
func subscribed(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), poolConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	queries := db.New()
	for _, name := range []string{"orders", "admin"} {
		if err := queries.InitializeBoundaryTables(t.Context(), pool, db.InitializeBoundaryTablesParams{
			Boundary: name, Schema: "public",
		}); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(t, pool, "orders", "mails", 1)
	return pool
}

// subscribe creates a subscription.
func subscribe(t *testing.T, pool *pgxpool.Pool, boundary, name string, partitions int32) {
	t.Helper()
	if err := db.New().CreateSubscription(t.Context(), pool, db.CreateSubscriptionParams{
		Boundary: boundary, Name: name, Criteria: "[]", Partitions: partitions, AckTimeoutMs: 60_000, MaxRefusals: 5,
		TransactionID: -1, GlobalID: -1, SubscriptionLimit: 10, AdminBoundary: "admin", Actor: "test",
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTheConsumersOfANodeThatDiedAreReplaced ends all that a node does, as kill -9 does. Its standby on another node
// gets what is not acknowledged, in a new epoch, and what the dead one sends afterwards is refused.
func TestTheConsumersOfANodeThatDiedAreReplaced(t *testing.T) {
	pool, queries := subscribed(t), db.New()
	dead, held, first := joined(t, pool, "first")
	all := delivered(t, first, 3)
	_, _, second := joined(t, pool, "second")
	if _, err := held.Settle([]*orisunpb.Acknowledgement{
		{Partition: 0, Epoch: all[0].GetEpoch(), Positions: []*orisunpb.Position{all[1].GetEvent().GetPosition()}},
	}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := dead.save(t.Context(), "orders", []*Member{held}, dueAll); err != nil {
		t.Fatal(err)
	}
	dead.saves = 0 // as if the write had come after a later one
	if _, err := held.Settle([]*orisunpb.Acknowledgement{
		{Partition: 0, Epoch: all[0].GetEpoch(), Positions: []*orisunpb.Position{all[0].GetEvent().GetPosition()}},
	}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := dead.save(t.Context(), "orders", []*Member{held}, dueAll); err != nil {
		t.Fatal(err)
	}
	dead.Close() // it renews and saves no more

	rest := delivered(t, second, 2)
	if len(rest) != 2 || rest[0].GetEvent().GetPosition().GetGlobalId() != 0 ||
		rest[1].GetEvent().GetPosition().GetGlobalId() != 2 || rest[0].GetEpoch() <= all[0].GetEpoch() {
		t.Errorf("the standby gets %v", rest)
	}
	if dead.alive(time.Now()) {
		t.Error("the dead node's lease holds while another one delivers")
	}
	if _, err := held.Settle([]*orisunpb.Acknowledgement{
		{Partition: 0, Epoch: all[0].GetEpoch(), Through: all[2].GetEvent().GetPosition()},
	}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := dead.save(t.Context(), "orders", []*Member{held}, dueAll); err != nil {
		t.Fatal(err)
	}
	rows, err := queries.SubscriptionCheckpoints(t.Context(), pool, db.SubscriptionCheckpointsParams{
		Boundary: "orders", Subscriptions: []string{"mails"},
	})
	if err != nil || len(rows) != 1 || rows[0].GlobalID != -1 {
		t.Errorf("the checkpoint after the dead node's write is %v, %v", rows, err)
	}
}

// TestAConsumerThatJoinedTooLateIsRemoved has a consumer in PostgreSQL whose stream has ended, since its request to
// join arrived after that: the others get its partition.
func TestAConsumerThatJoinedTooLateIsRemoved(t *testing.T) {
	pool := subscribed(t)
	n, left, first := joined(t, pool, "first")
	delivered(t, first, 3)
	if _, err := db.New().JoinSubscription(t.Context(), pool, db.JoinSubscriptionParams{
		ConsumerLimit: 2,
		Boundary:      "orders", Subscription: "mails", Member: uuid.NewString(), Node: *n.id.Load(),
	}); err != nil {
		t.Fatal(err)
	}
	if err := n.Leave(left); err != nil {
		t.Fatal(err)
	}
	_, _, second := joined(t, pool, "second")
	delivered(t, second, 3)
}

func poolConfig(t *testing.T) *pgxpool.Config {
	t.Helper()
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig = pgtest.Clone(t)
	return config
}
