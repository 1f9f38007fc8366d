package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// groupMember is a consumer of the group "mails".
type groupMember struct {
	t      *testing.T
	stream orisunpb.Subscriptions_ConsumeClient
	held   map[int64]*orisunpb.Delivery // what was delivered, by global_id
}

func joinMails(ctx context.Context, t *testing.T, client orisunpb.SubscriptionsClient) *groupMember {
	t.Helper()
	stream, err := client.Consume(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m := &groupMember{t, stream, map[int64]*orisunpb.Delivery{}}
	m.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: "orisun_test_1", Subscription: "mails",
	}}})
	return m
}

func (m *groupMember) send(request *orisunpb.ConsumeRequest) {
	m.t.Helper()
	if err := m.stream.Send(request); err != nil {
		m.t.Fatal(err)
	}
}

// until receives up to a response that fits, and returns the global_ids of what was delivered, in order.
func (m *groupMember) until(fits func(*orisunpb.ConsumeResponse) bool) (ids []int64) {
	m.t.Helper()
	for {
		response, err := m.stream.Recv()
		if err != nil {
			m.t.Fatal(err)
		}
		for _, delivery := range response.GetDeliveries().GetDeliveries() {
			id := delivery.GetEvent().GetPosition().GetGlobalId()
			ids, m.held[id] = append(ids, id), delivery
		}
		if fits(response) {
			return slices.Sorted(slices.Values(ids))
		}
	}
}

// deliveries receives until it has so many more events.
func (m *groupMember) deliveries(count int) []int64 {
	m.t.Helper()
	return m.until(func(response *orisunpb.ConsumeResponse) bool {
		count -= len(response.GetDeliveries().GetDeliveries())
		return count <= 0
	})
}

// caughtUp receives until everything up to an event is settled.
func (m *groupMember) caughtUp(last int64) []int64 {
	m.t.Helper()
	return m.until(func(response *orisunpb.ConsumeResponse) bool {
		return response.GetCaughtUp().GetPosition().GetGlobalId() >= last
	})
}

func (m *groupMember) acknowledge(ids ...int64) {
	m.t.Helper()
	for _, id := range ids {
		d := m.held[id]
		m.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{
			Acknowledge: &orisunpb.Acknowledgement{
				Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
			},
		}})
	}
}

func (m *groupMember) refuse(id int64, reason string) {
	m.t.Helper()
	d := m.held[id]
	m.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(), Reason: reason,
	}}})
}

// storedMails are the global_ids below count that the database has as acknowledged or parked, and the checkpoints, by
// partition. partitions are those of the events.
func storedMails(
	t *testing.T, config *pgx.ConnConfig, partitions []uint32,
) (settled []int64, checkpoints map[uint32]int64) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	rows, err := conn.Query(t.Context(), `SELECT * FROM orisun.read_checkpoints('orisun_test_1', 'mails', '{0,1}')`)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints = map[uint32]int64{}
	beyond := map[int64]bool{}
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		Partition            uint32
		TransactionID, ID    int64
		Acknowledged         []int64
		KeysWithParkedEvents []string
	}])
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range stored {
		checkpoints[row.Partition] = row.ID
		for _, id := range row.Acknowledged {
			beyond[id] = true
		}
	}
	for id, partition := range partitions {
		if int64(id) <= checkpoints[partition] || beyond[int64(id)] {
			settled = append(settled, int64(id))
		}
	}
	return settled, checkpoints
}

// parkedMails are the parked events as texts.
func parkedMails(t *testing.T, client orisunpb.SubscriptionsClient) (all []string) {
	t.Helper()
	parked, err := client.ListParked(t.Context(), &orisunpb.ListParkedRequest{
		Boundary: "orisun_test_1", Subscription: "mails",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range parked.GetEvents() {
		all = append(all, fmt.Sprintf("%d of %s, refused %d times: %q",
			event.GetEvent().GetPosition().GetGlobalId(), event.GetKey(), event.GetRefusals(), event.GetReason()))
	}
	return all
}

func saveMails(t *testing.T, store orisunpb.EventStoreClient, keys ...string) {
	t.Helper()
	events := make([]*orisunpb.EventToSave, len(keys))
	for i, key := range keys {
		events[i] = &orisunpb.EventToSave{
			EventId: fmt.Sprintf("%s-%d", key, i), EventType: "Placed", Data: fmt.Sprintf(`{"order": %q}`, key),
		}
	}
	if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: events,
	}); err != nil {
		t.Fatal(err)
	}
}

// A dump that is taken while a group consumes has its checkpoints, what is acknowledged after them, and its parked
// events. What is acknowledged after the dump is delivered again after the restore, and nothing else is.
func TestADumpRestoredElsewhereLetsGroupsGoOnWhereTheyWere(t *testing.T) {
	config := pgtest.Clone(t)
	first := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_ADMIN_PASSWORD=changeit")...))
	client := orisunpb.NewSubscriptionsClient(dial(t, first.address, grpc.WithPerRPCCredentials(basic{})))
	if _, err := client.CreateSubscription(t.Context(), &orisunpb.CreateSubscriptionRequest{
		Boundary: "orisun_test_1", Name: "mails", PartitionKey: "order", Partitions: 2, MaxRefusals: 2, ParkFollowing: true,
	}); err != nil {
		t.Fatal(err)
	}
	saveMails(t, connect(t, first.address), "a", "b", "c", "d", "e", "f", "g", "h", "bad", "bad")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	before := joinMails(ctx, t, client)
	if got := before.deliveries(9); !slices.Equal(got, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8}) { // 9 waits behind 8
		t.Fatalf("the group gets %v", got)
	}
	partitions := make([]uint32, 10)
	for id := range partitions {
		partitions[id] = before.held[int64(min(id, 8))].GetPartition()
	}
	before.acknowledge(7, 6, 4, 3, 1, 0)
	before.refuse(8, "no such order")
	before.deliveries(1)
	before.refuse(8, "no address")
	settled := []int64{0, 1, 3, 4, 6, 7, 8, 9} // 8 and 9 are parked
	waitFor(t, func() bool {
		got, _ := storedMails(t, config, partitions)
		return slices.Equal(got, settled)
	})
	parked := []string{`8 of bad, refused 2 times: "no address"`, `9 of bad, refused 0 times: ""`}
	if got := parkedMails(t, client); !slices.Equal(got, parked) {
		t.Fatalf("parked: %q", got)
	}
	_, checkpoints := storedMails(t, config, partitions)
	dump := t.TempDir() + "/dump"
	pgTool(t, config, "pg_dump", "-Fc", "-f", dump)
	before.acknowledge(2, 5) // the restored database does not have this
	waitFor(t, func() bool {
		got, _ := storedMails(t, config, partitions)
		return len(got) == len(partitions)
	})
	epochs := map[uint32]int64{}
	for _, delivery := range before.held {
		epochs[delivery.GetPartition()] = delivery.GetEpoch()
	}
	leave()
	first.stop(t, syscall.SIGTERM)

	restored := pgtest.NewEmpty(t)
	pgTool(t, restored, "pg_restore", "--no-owner", dump)
	if got, at := storedMails(t, restored, partitions); !slices.Equal(got, settled) || !maps.Equal(at, checkpoints) {
		t.Errorf("the restored database has %v acknowledged, with the checkpoints %v, want %v and %v",
			got, at, settled, checkpoints)
	}
	second := launch(t, environment(t.TempDir(), outside(restored)...))
	client = orisunpb.NewSubscriptionsClient(dial(t, second.address, grpc.WithPerRPCCredentials(basic{})))
	if got := parkedMails(t, client); !slices.Equal(got, parked) {
		t.Errorf("after the restore, parked: %q, want %q", got, parked)
	}
	// The consumer that was connected when the dump was taken holds the partitions until its node's lease ends.
	after := joinMails(t.Context(), t, client)
	if got := after.deliveries(2); !slices.Equal(got, []int64{2, 5}) {
		t.Fatalf("after the restore, the group gets %v, want what was not acknowledged: 2 and 5", got)
	}
	for id, delivery := range after.held {
		if delivery.GetEpoch() <= epochs[delivery.GetPartition()] {
			t.Errorf("event %d is delivered in epoch %d, which the consumer before the dump had too", id, delivery.GetEpoch())
		}
	}
	saveMails(t, connect(t, second.address), "i", "bad") // 10; 11 is parked behind 8 and 9
	if got := after.deliveries(1); !slices.Equal(got, []int64{10}) {
		t.Errorf("after the restore, a new event comes as %v", got)
	}
	after.acknowledge(2, 5, 10)
	if got := after.caughtUp(11); len(got) > 0 {
		t.Errorf("after the restore, these come again although they were acknowledged or parked: %v", got)
	}
	if _, err := client.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
		Boundary: "orisun_test_1", Subscription: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{8, 9, 11} {
		if got := after.deliveries(1); !slices.Equal(got, []int64{want}) || !after.held[want].GetReplayed() {
			t.Fatalf("a replay after the restore delivers %v, want %d", got, want)
		}
		after.acknowledge(want)
	}
	waitFor(t, func() bool { return len(parkedMails(t, client)) == 0 })
}
