package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

const durableBoundary = "orisun_test_1"

// durable is a client of one node.
type durable struct {
	orisunpb.SubscriptionsClient
	store orisunpb.EventStoreClient
}

func dialDurable(conn *grpc.ClientConn) durable {
	return durable{orisunpb.NewSubscriptionsClient(conn), orisunpb.NewEventStoreClient(conn)}
}

// save stores one event for each key, and returns the position of the last one.
func (d durable) save(t *testing.T, keys ...string) *orisunpb.Position {
	t.Helper()
	events := make([]*orisunpb.EventToSave, len(keys))
	for i, key := range keys {
		events[i] = &orisunpb.EventToSave{
			EventId: uuid.NewString(), EventType: "Placed", Data: fmt.Sprintf(`{"order": %q}`, key), Metadata: "{}",
		}
	}
	saved, err := d.store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{Boundary: durableBoundary, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return saved.GetLogPosition()
}

func (d durable) create(t *testing.T, in *orisunpb.CreateSubscriptionRequest) *orisunpb.Subscription {
	t.Helper()
	in.Boundary = durableBoundary
	created, err := d.CreateSubscription(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return created.GetSubscription()
}

func (d durable) get(t *testing.T, name string) *orisunpb.Subscription {
	t.Helper()
	found, err := d.GetSubscription(t.Context(), &orisunpb.GetSubscriptionRequest{Boundary: durableBoundary, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return found.GetSubscription()
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("the error is %v, want %s with %q", err, code, text)
	}
}

func TestASubscriptionIsCreatedListedResetAndDeleted(t *testing.T) {
	d := dialDurable(servertest.Start(t, "ORISUN_MAX_SUBSCRIPTIONS=2").Dial(t))
	d.save(t, "a", "b")
	between := time.Now()
	last := d.save(t, "c")
	definition := func() *orisunpb.CreateSubscriptionRequest {
		return &orisunpb.CreateSubscriptionRequest{
			Name: "mails", PartitionKey: "order",
			Query: &orisunpb.Query{Criteria: []*orisunpb.Criterion{
				{Tags: []*orisunpb.Tag{{Key: "event_type", Value: "Placed"}}},
			}},
		}
	}
	created := d.create(t, definition())
	if created.GetPartitions() != 16 || created.GetCheckpoint().GetGlobalId() != -1 || created.GetLag().GetEvents() != 3 ||
		created.GetLag().GetSeconds() <= 0 {
		t.Errorf("created: %v", created)
	}
	d.create(t, definition())
	changed := definition()
	changed.Partitions = 4
	changed.Boundary = durableBoundary
	_, err := d.CreateSubscription(t.Context(), changed)
	wantCode(t, err, codes.AlreadyExists, "another definition")

	at := d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "at", Start: &orisunpb.SubscriptionStart{
		Start: &orisunpb.SubscriptionStart_Time{Time: timestamppb.New(between)},
	}})
	if at.GetCheckpoint().GetGlobalId() != 1 || at.GetPartitions() != 1 || at.GetLag().GetEvents() != 1 {
		t.Errorf("a subscription that begins at a time: %v", at)
	}
	_, err = d.CreateSubscription(t.Context(), &orisunpb.CreateSubscriptionRequest{
		Boundary: durableBoundary, Name: "third",
	})
	wantCode(t, err, codes.ResourceExhausted, "ORISUN_MAX_SUBSCRIPTIONS")

	reset, err := d.ResetSubscription(t.Context(), &orisunpb.ResetSubscriptionRequest{
		Boundary: durableBoundary, Name: "mails",
		Start: &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Now{Now: true}},
	})
	if err != nil || reset.GetSubscription().GetCheckpoint().GetGlobalId() != last.GetGlobalId() {
		t.Errorf("reset: %v, %v", reset, err)
	}
	if _, err := d.DeleteSubscription(t.Context(), &orisunpb.DeleteSubscriptionRequest{
		Boundary: durableBoundary, Name: "at",
	}); err != nil {
		t.Error(err)
	}
	listed, err := d.ListSubscriptions(t.Context(), &orisunpb.ListSubscriptionsRequest{Boundary: durableBoundary})
	if err != nil || len(listed.GetSubscriptions()) != 1 || listed.GetSubscriptions()[0].GetName() != "mails" {
		t.Errorf("listed: %v, %v", listed, err)
	}
	_, err = d.GetSubscription(t.Context(), &orisunpb.GetSubscriptionRequest{Boundary: durableBoundary, Name: "at"})
	wantCode(t, err, codes.NotFound, `no subscription 'at'`)
	_, err = d.GetSubscription(t.Context(), &orisunpb.GetSubscriptionRequest{Boundary: "nowhere", Name: "at"})
	wantCode(t, err, codes.NotFound, "nowhere")
	log, err := d.store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: "orisun_admin", Direction: orisunpb.Direction_DESC, Count: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, event := range log.GetEvents() {
		types = append(types, event.GetEventType())
	}
	if got := strings.Join(types,
		" "); got != "SubscriptionDeleted SubscriptionReset SubscriptionCreated SubscriptionCreated" {
		t.Errorf("the admin boundary has %s", got)
	}
}

func TestWrongSubscriptionsAreRefusedWithTheFieldThatIsWrong(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	for field, in := range map[string]*orisunpb.CreateSubscriptionRequest{
		"name: is required":                                      {},
		"name: has 201 bytes, at most 200 are allowed":           {Name: strings.Repeat("n", 201)},
		"partitions: is 257, at most 256 are allowed":            {Name: "a", PartitionKey: "k", Partitions: 257},
		"partitions: is 2: without a partition_key there is one": {Name: "a", Partitions: 2},
		"park_following: needs a partition_key":                  {Name: "a", ParkFollowing: true},
		"max_refusals: is 1001, at most 1000 are allowed":        {Name: "a", MaxRefusals: 1001},
		"start.after_position: has the global_id 7": {Name: "a", Start: &orisunpb.SubscriptionStart{
			Start: &orisunpb.SubscriptionStart_AfterPosition{AfterPosition: &orisunpb.Position{TransactionId: 8, GlobalId: 7}},
		}},
	} {
		in.Boundary = durableBoundary
		_, err := d.CreateSubscription(t.Context(), in)
		wantCode(t, err, codes.InvalidArgument, field)
	}
}

// consuming is an open Consume stream.
type consuming struct {
	orisunpb.Subscriptions_ConsumeClient
	cancel context.CancelFunc
}

func (d durable) consume(t *testing.T, name string, window uint32) *consuming {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := d.Consume(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &consuming{stream, cancel}
	c.send(t, &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: durableBoundary, Subscription: name, Window: window, ConsumerName: t.Name(),
	}}})
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return in.GetStarted() != nil })
	return c
}

func (c *consuming) send(t *testing.T, in *orisunpb.ConsumeRequest) {
	t.Helper()
	if err := c.Send(in); err != nil {
		t.Fatal(err)
	}
}

// until receives responses up to one that fits.
func (c *consuming) until(t *testing.T, fits func(*orisunpb.ConsumeResponse) bool) *orisunpb.ConsumeResponse {
	t.Helper()
	for {
		in, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if fits(in) {
			return in
		}
	}
}

// events receives a number of deliveries.
func (c *consuming) events(t *testing.T, count int) (all []*orisunpb.Delivery) {
	t.Helper()
	c.until(t, func(in *orisunpb.ConsumeResponse) bool {
		all = append(all, in.GetDeliveries().GetDeliveries()...)
		return len(all) >= count
	})
	if len(all) > count {
		t.Fatalf("%d events were delivered, want %d: %v", len(all), count, all)
	}
	return all
}

func (c *consuming) acknowledge(t *testing.T, deliveries ...*orisunpb.Delivery) {
	t.Helper()
	for _, d := range deliveries {
		done := &orisunpb.Acknowledgement{
			Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
		}
		c.send(t, &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{Acknowledge: done}})
	}
}

func (c *consuming) refuse(t *testing.T, d *orisunpb.Delivery, reason string) {
	t.Helper()
	c.send(t, &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(), Reason: reason,
	}}})
}

func ids(deliveries []*orisunpb.Delivery) (all []int64) {
	for _, d := range deliveries {
		all = append(all, d.GetEvent().GetPosition().GetGlobalId())
	}
	return all
}

func (d durable) wait(t *testing.T, name string, at *orisunpb.Position) {
	t.Helper()
	if _, err := d.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
		Boundary: durableBoundary, Subscription: name, Position: at,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAConsumerGetsWhatIsNotAcknowledgedAgain(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.save(t, "a", "b", "c", "d")
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", AckTimeout: durationpb.New(time.Second)})
	c := d.consume(t, "mails", 3)
	first := c.events(t, 3) // the window
	if got := ids(first); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Fatalf("the first three are %v", got)
	}
	c.acknowledge(t, first[0], first[2])
	fourth := c.events(t, 1)
	if got := ids(fourth); !slices.Equal(got, []int64{3}) {
		t.Fatalf("the window had room for %v", got)
	}
	c.acknowledge(t, fourth...)
	again := c.events(t, 1) // after ack_timeout
	if got := again[0]; ids(again)[0] != 1 || got.GetDeliveryCount() != 2 {
		t.Fatalf("after the timeout comes %v", again)
	}
	if in := d.get(t, "mails"); in.GetCheckpoint().GetGlobalId() >= 1 {
		t.Errorf("the checkpoint is ahead of what is acknowledged: %v", in)
	}
	// Another stream gets only what is not acknowledged.
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := c.end(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream whose client has closed its side ends with %v", err)
	}
	c = d.consume(t, "mails", 3)
	last := c.events(t, 1)
	if got := ids(last); got[0] != 1 {
		t.Fatalf("the next stream gets %v", got)
	}
	c.acknowledge(t, last...)
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return in.GetCaughtUp().GetPosition().GetGlobalId() == 3 })
	d.wait(t, "mails", &orisunpb.Position{TransactionId: 4, GlobalId: 3})
	_, err := d.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
		Boundary: durableBoundary, Subscription: "mails", Position: &orisunpb.Position{TransactionId: 9, GlobalId: 8},
		Timeout: durationpb.New(100 * time.Millisecond),
	})
	wantCode(t, err, codes.DeadlineExceeded, "is at {4,3}")
}

func TestARefusedEventComesAgainAndIsParked(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{
		Name: "mails", PartitionKey: "order", Partitions: 1, MaxRefusals: 2, ParkFollowing: true,
	})
	c := d.consume(t, "mails", 100)
	d.save(t, "bad", "bad", "good")
	first := c.events(t, 2) // one of each key
	if got := ids(first); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("the first events are %v", got)
	}
	c.acknowledge(t, first[1])
	c.refuse(t, first[0], "no such order")
	again := c.events(t, 1)
	if ids(again)[0] != 0 || again[0].GetDeliveryCount() != 2 {
		t.Fatalf("after a refusal comes %v", again)
	}
	c.refuse(t, again[0], "no such order\x00")
	last := d.save(t, "bad")
	d.wait(t, "mails", last)
	parked := d.parked(t)
	if len(parked) != 3 || parked[0].GetReason() != "no such order" || parked[0].GetRefusals() != 2 ||
		parked[1].GetRefusals() != 0 || parked[2].GetKey() != "bad" {
		t.Fatalf("parked: %v", parked)
	}
	if _, err := d.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
		Boundary: durableBoundary, Subscription: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{0, 1, 3} { // in order, one at a time
		replayed := c.events(t, 1)
		if ids(replayed)[0] != want || !replayed[0].GetReplayed() {
			t.Fatalf("replayed: %v, want %d", replayed, want)
		}
		c.acknowledge(t, replayed...)
	}
	for len(d.parked(t)) > 0 { // until the last acknowledgement is stored: before, a later event is parked
	}
	d.save(t, "bad")
	if next := c.events(t, 1); ids(next)[0] != 4 || next[0].GetReplayed() {
		t.Errorf("once nothing of its key is parked, an event is delivered: %v", next)
	}
	if parked := d.parked(t); len(parked) != 0 {
		t.Errorf("still parked: %v", parked)
	}
}

func (d durable) parked(t *testing.T) []*orisunpb.ParkedEvent {
	t.Helper()
	parked, err := d.ListParked(t.Context(), &orisunpb.ListParkedRequest{Boundary: durableBoundary, Subscription: "mails"})
	if err != nil {
		t.Fatal(err)
	}
	return parked.GetEvents()
}

func TestPartitionsMoveAsConsumersComeAndGo(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", PartitionKey: "order"})
	held := func(n int) func(*orisunpb.ConsumeResponse) bool {
		return func(in *orisunpb.ConsumeResponse) bool { return len(in.GetAssigned().GetPartitions()) == n }
	}
	first := d.consume(t, "mails", 100)
	first.until(t, held(16))
	second := d.consume(t, "mails", 100)
	revoked := first.until(t, func(in *orisunpb.ConsumeResponse) bool { return len(in.GetRevoked().GetPartitions()) == 8 })
	second.until(t, held(8))
	d.save(t, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p")
	seen := map[int64]bool{}
	lost := map[uint32]bool{}
	for _, p := range revoked.GetRevoked().GetPartitions() {
		lost[p.GetPartition()] = true
	}
	for _, c := range []*consuming{first, second} {
		c.until(t, func(in *orisunpb.ConsumeResponse) bool {
			for _, delivery := range in.GetDeliveries().GetDeliveries() {
				if seen[delivery.GetEvent().GetPosition().GetGlobalId()] || lost[delivery.GetPartition()] == (c == first) {
					t.Errorf("delivered to the wrong consumer or twice: %v", delivery)
				}
				seen[delivery.GetEvent().GetPosition().GetGlobalId()] = true
			}
			return in.GetProgress().GetPosition().GetGlobalId() == 15
		})
	}
	if len(seen) != 16 {
		t.Errorf("%d of 16 events were delivered", len(seen))
	}
	first.cancel() // nothing was acknowledged
	second.until(t, held(8))
	second.until(t, func(in *orisunpb.ConsumeResponse) bool {
		for _, delivery := range in.GetDeliveries().GetDeliveries() {
			delete(seen, delivery.GetEvent().GetPosition().GetGlobalId())
		}
		return in.GetProgress() != nil
	})
	if consumers := d.get(t, "mails").GetConsumers(); len(consumers) != 1 || len(consumers[0].GetPartitions()) != 16 {
		t.Errorf("the consumers are %v", consumers)
	}
}

func TestAResetAndADeletionEndConsumers(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.save(t, "a")
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 100)
	c.acknowledge(t, c.events(t, 1)...)
	d.wait(t, "mails", &orisunpb.Position{TransactionId: 1, GlobalId: 0})
	beginning := &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Beginning{Beginning: true}}
	if _, err := d.ResetSubscription(t.Context(), &orisunpb.ResetSubscriptionRequest{
		Boundary: durableBoundary, Name: "mails", Start: beginning,
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.end(), codes.Aborted, "reset")
	c = d.consume(t, "mails", 100)
	if again := c.events(t, 1); ids(again)[0] != 0 {
		t.Errorf("after a reset comes %v", again)
	}
	if _, err := d.DeleteSubscription(t.Context(), &orisunpb.DeleteSubscriptionRequest{
		Boundary: durableBoundary, Name: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.end(), codes.NotFound, "deleted")
}

// end receives until the stream ends.
func (c *consuming) end() error {
	for {
		if _, err := c.Recv(); err != nil {
			return err
		}
	}
}

func connectTo(t *testing.T, server *servertest.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), server.Database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// A consumer whose partition was given to another one, and does not know, stores nothing.
func TestAnAcknowledgementOfAnOldEpochIsRefused(t *testing.T) {
	server := servertest.Start(t)
	d := dialDurable(server.Dial(t))
	d.save(t, "a", "b")
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 100)
	held := c.events(t, 2)
	db := connectTo(t, server)
	if _, err := db.Exec(t.Context(), "UPDATE orisun.subscription_partition SET epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	c.acknowledge(t, held...)
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return len(in.GetRevoked().GetPartitions()) == 1 })
	if in := d.get(t, "mails"); in.GetCheckpoint().GetGlobalId() != -1 {
		t.Errorf("an acknowledgement of an old epoch moved the checkpoint: %v", in)
	}
	again := c.events(t, 2)
	if again[0].GetEpoch() <= held[0].GetEpoch() {
		t.Errorf("delivered again in the epoch %d, before %d", again[0].GetEpoch(), held[0].GetEpoch())
	}
	c.acknowledge(t, again...)
	d.wait(t, "mails", again[1].GetEvent().GetPosition())
}

// A node that PostgreSQL had removed, as after a pause, lets its consumers join again.
func TestANodeWhoseLeaseEndedLetsItsConsumersJoinAgain(t *testing.T) {
	server := servertest.Start(t)
	d := dialDurable(server.Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 100)
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return in.GetAssigned() != nil })
	db := connectTo(t, server)
	if _, err := db.Exec(t.Context(), "DELETE FROM orisun.subscription_node"); err != nil {
		t.Fatal(err)
	}
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return in.GetRevoked() != nil })
	c.until(t, func(in *orisunpb.ConsumeResponse) bool { return in.GetAssigned() != nil })
	at := d.save(t, "a")
	c.acknowledge(t, c.events(t, 1)...)
	d.wait(t, "mails", at)
}

func TestACheckpointMovesWhereNothingMatches(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", PartitionKey: "order", Query: &orisunpb.Query{
		Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "order", Value: "one in a million"}}}},
	}})
	d.consume(t, "mails", 100)
	d.wait(t, "mails", d.save(t, "a", "b", "c"))
}

// closed ends the client's side, and returns how the stream ends and whether the partition was revoked before.
func (c *consuming) closed(t *testing.T) (revoked bool, err error) {
	t.Helper()
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for {
		in, err := c.Recv()
		if err != nil {
			return revoked, err
		}
		revoked = revoked || in.GetRevoked() != nil
	}
}

// A stream ends with OK only when its last acknowledgements are stored.
func TestAStreamWhoseLastAcknowledgementsAreNotStoredEndsUnavailable(t *testing.T) {
	server := servertest.Start(t)
	d := dialDurable(server.Dial(t))
	last := d.save(t, "a", "b")
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 100)
	held := c.events(t, 2)
	lock, err := connectTo(t, server).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), "LOCK TABLE orisun.subscription_partition IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	c.acknowledge(t, held...)
	_, err = c.closed(t)
	wantCode(t, err, codes.Unavailable, "may not be stored")
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.wait(t, "mails", last) // it is stored in the background
	if _, err := d.consume(t, "mails", 100).closed(t); !errors.Is(err, io.EOF) {
		t.Errorf("a stream with nothing to store ends with %v", err)
	}
}

// The client of a stream that ends with OK knows which partitions were revoked: all else that it settled is stored.
func TestAStreamWhoseAcknowledgementsWereRefusedEndsUnavailable(t *testing.T) {
	server := servertest.Start(t)
	d := dialDurable(server.Dial(t))
	d.save(t, "a")
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 100)
	held := c.events(t, 1)
	if _, err := connectTo(t, server).Exec(t.Context(),
		"UPDATE orisun.subscription_partition SET epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	c.acknowledge(t, held...)
	if revoked, err := c.closed(t); status.Code(err) != codes.Unavailable && !revoked {
		t.Errorf("the stream ends with %v, and its partition was not revoked before", err)
	}
	if again := d.consume(t, "mails", 100).events(t, 1); ids(again)[0] != 0 {
		t.Errorf("the next stream gets %v", again)
	}
}

func TestTheEndOfAStreamStoresTheAcknowledgementsOfReplayedEvents(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", MaxRefusals: 1})
	last := d.save(t, "a", "b", "c", "d", "e", "f", "g", "h")
	c := d.consume(t, "mails", 100)
	for _, delivery := range c.events(t, 8) {
		c.refuse(t, delivery, "not now")
	}
	d.wait(t, "mails", last)
	if _, err := d.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
		Boundary: durableBoundary, Subscription: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	c.acknowledge(t, c.events(t, 8)...)
	if _, err := c.closed(t); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	if parked := d.parked(t); len(parked) > 0 {
		t.Errorf("acknowledged, and still parked: %v", parked)
	}
}

func TestAWaitEndsWhenItsSubscriptionIsDeleted(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	at := d.save(t, "a")
	ended := make(chan error, 1)
	go func() {
		_, err := d.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
			Boundary: durableBoundary, Subscription: "mails", Position: at, Timeout: durationpb.New(time.Minute),
		})
		ended <- err
	}()
	if _, err := d.DeleteSubscription(t.Context(), &orisunpb.DeleteSubscriptionRequest{
		Boundary: durableBoundary, Name: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-ended, codes.NotFound, `boundary "orisun_test_1" has no subscription 'mails'`)
	_, err := d.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
		Boundary: "nowhere", Subscription: "mails", Position: at,
	})
	wantCode(t, err, codes.NotFound, "nowhere")
}
