package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
		events[i] = &orisunpb.EventToSave{EventId: uuid.NewString(), EventType: "Placed", Data: fmt.Sprintf(`{"order": %q}`, key), Metadata: "{}"}
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
		return &orisunpb.CreateSubscriptionRequest{Name: "mails", PartitionKey: "order", Query: &orisunpb.Query{Criteria: []*orisunpb.Criterion{
			{Tags: []*orisunpb.Tag{{Key: "event_type", Value: "Placed"}}},
		}}}
	}
	created := d.create(t, definition())
	if created.GetPartitions() != 16 || created.GetCheckpoint().GetGlobalId() != -1 || created.GetLag().GetEvents() != 3 || created.GetLag().GetSeconds() <= 0 {
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
	_, err = d.CreateSubscription(t.Context(), &orisunpb.CreateSubscriptionRequest{Boundary: durableBoundary, Name: "third"})
	wantCode(t, err, codes.ResourceExhausted, "ORISUN_MAX_SUBSCRIPTIONS")

	reset, err := d.ResetSubscription(t.Context(), &orisunpb.ResetSubscriptionRequest{
		Boundary: durableBoundary, Name: "mails", Start: &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Now{Now: true}},
	})
	if err != nil || reset.GetSubscription().GetCheckpoint().GetGlobalId() != last.GetGlobalId() {
		t.Errorf("reset: %v, %v", reset, err)
	}
	if _, err := d.DeleteSubscription(t.Context(), &orisunpb.DeleteSubscriptionRequest{Boundary: durableBoundary, Name: "at"}); err != nil {
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
	log, err := d.store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_admin", Direction: orisunpb.Direction_DESC, Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, event := range log.GetEvents() {
		types = append(types, event.GetEventType())
	}
	if got := strings.Join(types, " "); got != "SubscriptionDeleted SubscriptionReset SubscriptionCreated SubscriptionCreated" {
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
