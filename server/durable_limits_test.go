package server_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// Each limit of docs/limits.md on a field of a call about subscriptions, one beyond it.
func TestCallsAboutSubscriptionsBeyondALimitNameTheField(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	create := func(in *orisunpb.CreateSubscriptionRequest) func() error {
		in.Boundary = durableBoundary
		return func() error {
			_, err := d.CreateSubscription(t.Context(), in)
			return err
		}
	}
	consume := func(in *orisunpb.ConsumeStart) func() error {
		in.Boundary = durableBoundary
		return func() error {
			stream, err := d.Consume(t.Context())
			if err != nil {
				return err
			}
			start := &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: in}}
			if err := stream.Send(start); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}
	}
	at := func(count int) []*orisunpb.Position { return slices.Repeat([]*orisunpb.Position{{GlobalId: 1}}, count) }
	for name, test := range map[string]struct {
		call func() error
		want string
	}{
		"ack_timeout too short": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", AckTimeout: durationpb.New(time.Second - 1)}),
			"ack_timeout: is 999.999999ms, from 1s to 1h0m0s are allowed",
		},
		"ack_timeout too long": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", AckTimeout: durationpb.New(time.Hour + 1)}),
			"ack_timeout: is 1h0m0.000000001s, from 1s to 1h0m0s are allowed",
		},
		"ack_timeout negative": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", AckTimeout: durationpb.New(-time.Second)}),
			"ack_timeout: is -1s",
		},
		"partitions": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", PartitionKey: "k", Partitions: 257}),
			"partitions: is 257, at most 256 are allowed",
		},
		"partition_key": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", PartitionKey: strings.Repeat("k", 257)}),
			"partition_key: has 257 bytes, at most 256 are allowed",
		},
		"max_refusals": {
			create(&orisunpb.CreateSubscriptionRequest{Name: "a", MaxRefusals: 1001}),
			"max_refusals: is 1001, at most 1000 are allowed",
		},
		"name": {
			create(&orisunpb.CreateSubscriptionRequest{Name: strings.Repeat("n", 201)}),
			"name: has 201 bytes, at most 200 are allowed",
		},
		"name with NUL": {create(&orisunpb.CreateSubscriptionRequest{Name: "a\x00"}), "name: holds a NUL character"},
		"window": {
			consume(&orisunpb.ConsumeStart{Subscription: "mails", Window: 10_001}),
			"window: is 10001, at most 10000 are allowed",
		},
		"consumer_name": {
			consume(&orisunpb.ConsumeStart{Subscription: "mails", ConsumerName: strings.Repeat("n", 257)}),
			"consumer_name: has 257 bytes, at most 256 are allowed",
		},
		"subscription": {
			consume(&orisunpb.ConsumeStart{Subscription: strings.Repeat("n", 201)}),
			"subscription: has 201 bytes, at most 200 are allowed",
		},
		"window of ReadSubscription": {
			func() error {
				stream, err := d.ReadSubscription(t.Context(), &orisunpb.ReadSubscriptionRequest{
					Boundary: durableBoundary, Subscription: "mails", Window: 10_001,
				})
				if err != nil {
					return err
				}
				_, err = stream.Recv()
				return err
			},
			"window: is 10001, at most 10000 are allowed",
		},
		"count of parked events": {
			func() error {
				_, err := d.ListParked(t.Context(), &orisunpb.ListParkedRequest{
					Boundary: durableBoundary, Subscription: "mails", Count: 1001,
				})
				return err
			},
			"count: is 1001, at most 1000 are allowed",
		},
		"positions to replay": {
			func() error {
				_, err := d.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
					Boundary: durableBoundary, Subscription: "mails", Positions: at(1001),
				})
				return err
			},
			"positions: has 1001, at most 1000 are allowed",
		},
		"positions to skip": {
			func() error {
				_, err := d.SkipParked(t.Context(), &orisunpb.SkipParkedRequest{
					Boundary: durableBoundary, Subscription: "mails", Positions: at(1001),
				})
				return err
			},
			"positions: has 1001, at most 1000 are allowed",
		},
		"timeout of a wait": {
			func() error {
				_, err := d.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
					Boundary: durableBoundary, Subscription: "mails", Position: at(1)[0],
					Timeout: durationpb.New(time.Minute + 1),
				})
				return err
			},
			"timeout: is 1m0.000000001s, from 0s to 1m0s are allowed",
		},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, test.call(), codes.InvalidArgument, test.want) })
	}
}

// Settlements beyond a limit end the stream. Their events are delivered to the next one.
func TestSettlementsBeyondALimitEndTheStream(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	d.save(t, "a")
	unknown := &orisunpb.Position{TransactionId: 8, GlobalId: 7}
	for name, test := range map[string]struct {
		settle func(*orisunpb.Delivery) *orisunpb.ConsumeRequest
		code   codes.Code
		want   string
	}{
		"a delay of more than an hour": {
			func(of *orisunpb.Delivery) *orisunpb.ConsumeRequest {
				return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Delay{Delay: &orisunpb.Delay{
					Epoch: of.GetEpoch(), Position: of.GetEvent().GetPosition(), Delay: durationpb.New(time.Hour + 1),
				}}}
			}, codes.InvalidArgument, "delay: is 1h0m0.000000001s, from 0s to 1h0m0s are allowed",
		},
		"an acknowledgement of nothing": {
			func(of *orisunpb.Delivery) *orisunpb.ConsumeRequest {
				return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{
					Acknowledge: &orisunpb.Acknowledgement{Epoch: of.GetEpoch()},
				}}
			}, codes.InvalidArgument, "needs through or positions",
		},
		"an event that was not delivered": {
			func(of *orisunpb.Delivery) *orisunpb.ConsumeRequest {
				return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{
					Acknowledge: &orisunpb.Acknowledgement{Epoch: of.GetEpoch(), Positions: []*orisunpb.Position{unknown}},
				}}
			}, codes.InvalidArgument, "global_id 7",
		},
		"a message of more than 256 KiB": {
			func(of *orisunpb.Delivery) *orisunpb.ConsumeRequest {
				return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
					Epoch: of.GetEpoch(), Position: of.GetEvent().GetPosition(), Reason: strings.Repeat("r", 256<<10),
				}}}
			}, codes.ResourceExhausted, "262144",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := d.consume(t, "mails", 1)
			c.send(t, test.settle(c.events(t, 1)[0]))
			wantCode(t, c.end(), test.code, test.want)
		})
	}
}

func TestALongReasonIsCutWhereItSaysSo(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", MaxRefusals: 1})
	at := d.save(t, "a")
	c := d.consume(t, "mails", 1)
	c.refuse(t, c.events(t, 1)[0], "\x00"+strings.Repeat("ä", 513))
	d.wait(t, "mails", at)
	want := strings.Repeat("ä", 510) + "…"
	if parked := d.parked(t); len(parked) != 1 || parked[0].GetReason() != want {
		t.Errorf("parked with a reason of %d bytes: %v", len(parked[0].GetReason()), parked)
	}
}

// A consumer holds 4 MiB and one event more, whatever its window is. The others come as these are acknowledged.
func TestUnacknowledgedEventsAreBoundedInBytes(t *testing.T) {
	const size, count = 900_000, 12
	d := dialDurable(servertest.Start(t).Dial(t))
	data := `{"pad": "` + strings.Repeat("x", size) + `"}`
	for range count {
		if _, err := d.store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: durableBoundary,
			Events:   []*orisunpb.EventToSave{{EventId: uuid.NewString(), EventType: "T", Data: data, Metadata: "{}"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	c := d.consume(t, "mails", 10_000)
	held := c.events(t, 5) // fewer would be 3.6 MB
	c.until(t, func(in *orisunpb.ConsumeResponse) bool {
		if more := in.GetDeliveries().GetDeliveries(); len(more) > 0 {
			t.Fatalf("%v events come while 4.5 MB are not acknowledged", ids(more))
		}
		return in.GetProgress().GetPosition().GetGlobalId() == 4
	})
	var got []int64
	for len(got) < count {
		got = append(got, ids(held)...)
		c.acknowledge(t, held...)
		if len(got) < count {
			held = c.until(t, func(in *orisunpb.ConsumeResponse) bool {
				return in.GetDeliveries() != nil
			}).GetDeliveries().GetDeliveries()
		}
	}
	if want := []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(got, want) {
		t.Errorf("delivered: %v", got)
	}
}

func TestASubscriptionHasNoMoreConsumersThanTheLimit(t *testing.T) {
	d := dialDurable(servertest.Start(t, "ORISUN_MAX_CONSUMERS=2").Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails"})
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "others"})
	first := d.consume(t, "mails", 1)
	d.consume(t, "mails", 1)
	third, err := d.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: durableBoundary, Subscription: "mails",
	}}}); err != nil {
		t.Fatal(err)
	}
	_, err = third.Recv()
	wantCode(t, err, codes.ResourceExhausted,
		`subscription "mails" of boundary "orisun_test_1" has 2 consumers, no more are taken (ORISUN_MAX_CONSUMERS)`)
	d.consume(t, "others", 1)
	if _, err := first.closed(t); !errors.Is(err, io.EOF) {
		t.Errorf("a consumer leaves with %v", err)
	}
	d.consume(t, "mails", 1)
}

// Beyond the limit an event is not parked: it comes again, and the checkpoint does not pass it.
func TestASubscriptionParksNoMoreEventsThanTheLimit(t *testing.T) {
	server := servertest.Start(t, "ORISUN_MAX_PARKED_EVENTS=1")
	d := dialDurable(server.Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", MaxRefusals: 1})
	d.save(t, "a", "b", "c")
	c := d.consume(t, "mails", 10)
	all := c.events(t, 3)
	c.refuse(t, all[0], "bad")
	d.wait(t, "mails", all[0].GetEvent().GetPosition())
	c.refuse(t, all[1], "bad as well")
	c.acknowledge(t, all[2])
	if _, err := c.closed(t); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	if parked := d.parked(t); len(parked) != 1 || d.get(t, "mails").GetCheckpoint().GetGlobalId() != 0 {
		t.Errorf("parked: %v; %v", parked, d.get(t, "mails"))
	}
	c = d.consume(t, "mails", 10)
	again := c.events(t, 1)
	if ids(again)[0] != 1 {
		t.Errorf("what is neither parked nor acknowledged is 1, delivered: %v", again)
	}
	if _, err := d.SkipParked(t.Context(), &orisunpb.SkipParkedRequest{
		Boundary: durableBoundary, Subscription: "mails", All: true,
	}); err != nil {
		t.Fatal(err)
	}
	c.refuse(t, again[0], "bad as well") // there is room
	d.wait(t, "mails", all[2].GetEvent().GetPosition())
	if parked := d.parked(t); len(parked) != 1 || parked[0].GetReason() != "bad as well" {
		t.Errorf("parked: %v", parked)
	}
}

// With park_following, later events of a key stay behind the parked one, whether there is room to park them or not.
func TestOrderHoldsWhereNoMoreEventsAreParked(t *testing.T) {
	server := servertest.Start(t, "ORISUN_MAX_PARKED_EVENTS=1")
	d := dialDurable(server.Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{
		Name: "mails", PartitionKey: "order", Partitions: 1, MaxRefusals: 1, ParkFollowing: true,
	})
	d.save(t, "bad", "bad")
	last := d.save(t, "good")
	c := d.consume(t, "mails", 10)
	all := c.events(t, 2)
	c.refuse(t, all[0], "bad")
	c.acknowledge(t, all[1])
	d.wait(t, "mails", all[0].GetEvent().GetPosition())
	if _, err := d.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
		Boundary: durableBoundary, Subscription: "mails",
	}); err != nil {
		t.Fatal(err)
	}
	replayed := c.events(t, 1)
	if ids(replayed)[0] != 0 || !replayed[0].GetReplayed() {
		t.Fatalf("before what is parked comes %v", replayed)
	}
	c.acknowledge(t, replayed...)
	next := c.events(t, 1)
	if ids(next)[0] != 1 {
		t.Fatalf("behind the parked event comes %v", next)
	}
	c.acknowledge(t, next...)
	d.wait(t, "mails", last)
}

// Once the events of a key are skipped, nothing is parked behind them any more.
func TestAfterASkipLaterEventsOfTheKeyAreDelivered(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{
		Name: "mails", PartitionKey: "order", Partitions: 1, MaxRefusals: 1, ParkFollowing: true,
	})
	at := d.save(t, "bad", "bad")
	c := d.consume(t, "mails", 10)
	c.refuse(t, c.events(t, 1)[0], "bad")
	d.wait(t, "mails", at)
	if skipped, err := d.SkipParked(t.Context(), &orisunpb.SkipParkedRequest{
		Boundary: durableBoundary, Subscription: "mails", All: true,
	}); err != nil || skipped.GetEvents() != 2 {
		t.Fatal(skipped, err)
	}
	at = d.save(t, "bad", "bad")
	for range 2 {
		c.acknowledge(t, c.events(t, 1)...)
	}
	d.wait(t, "mails", at)
	if parked := d.parked(t); len(parked) != 0 {
		t.Errorf("parked behind an event that was skipped: %v", parked)
	}
}

func TestAnUnknownParkedPositionIsNamedAndNothingIsChanged(t *testing.T) {
	d := dialDurable(servertest.Start(t).Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", MaxRefusals: 1})
	at := d.save(t, "a")
	c := d.consume(t, "mails", 10)
	c.refuse(t, c.events(t, 1)[0], "bad")
	d.wait(t, "mails", at)
	for _, unknown := range []int64{1, 17} {
		positions := []*orisunpb.Position{at, {TransactionId: unknown + 1, GlobalId: unknown}}
		want := fmt.Sprintf("no parked events at 1 of the positions: global_id %d", unknown)
		_, err := d.ReplayParked(t.Context(), &orisunpb.ReplayParkedRequest{
			Boundary: durableBoundary, Subscription: "mails", Positions: positions,
		})
		wantCode(t, err, codes.NotFound, want)
		_, err = d.SkipParked(t.Context(), &orisunpb.SkipParkedRequest{
			Boundary: durableBoundary, Subscription: "mails", Positions: positions,
		})
		wantCode(t, err, codes.NotFound, want)
	}
	if parked := d.parked(t); len(parked) != 1 || parked[0].GetReplaying() {
		t.Errorf("parked: %v", parked)
	}
	if skipped, err := d.SkipParked(t.Context(), &orisunpb.SkipParkedRequest{
		Boundary: durableBoundary, Subscription: "mails", Positions: []*orisunpb.Position{at, at},
	}); err != nil || skipped.GetEvents() != 1 {
		t.Errorf("skipped: %v, %v", skipped, err)
	}
}
