package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// hostileConsumer is how a consumer treats what it gets. pace is how long it waits before it reads the next response.
type hostileConsumer struct {
	name   string
	pace   time.Duration
	settle func(*orisunpb.Delivery) *orisunpb.ConsumeRequest
}

var hostileConsumers = []hostileConsumer{
	{name: "never acknowledges", settle: func(*orisunpb.Delivery) *orisunpb.ConsumeRequest { return nil }},
	{name: "refuses everything", settle: func(d *orisunpb.Delivery) *orisunpb.ConsumeRequest {
		return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
			Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(), Reason: strings.Repeat("no", 512),
		}}}
	}},
	{name: "reads slowly", pace: 100 * time.Millisecond, settle: acknowledgement},
}

func acknowledgement(d *orisunpb.Delivery) *orisunpb.ConsumeRequest {
	done := &orisunpb.Acknowledgement{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
	}
	return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{Acknowledge: done}}
}

// TestHostileConsumersHarmNoOtherSubscription saves 48 MiB alone, and then beside each hostile consumer, which all stay
// to the end. An innocent subscription of the boundary gets every event in order, and the real process stays small: it
// never has more than the memory limit, and what a hostile consumer holds, beyond garbage, is bounded.
func TestHostileConsumersHarmNoOtherSubscription(t *testing.T) {
	const (
		limit   = 320 << 20 // the default of GOMEMLIMIT
		each    = 10 << 20  // of a hostile consumer: 4 MiB of events, and what it takes to deliver them
		perSave = 50
		saves   = 60
		size    = 16 << 10
	)
	profiles := strconv.Itoa(freePort(t))
	server := launch(t, environment(t.TempDir(), append(outside(pgtest.Clone(t)), "ORISUN_MAX_PARKED_EVENTS=1000",
		"ORISUN_PPROF_ENABLED=true", "ORISUN_PPROF_PORT="+profiles)...))
	store := connect(t, server.address)
	innocent := openConsumer(t, server, "innocent", &orisunpb.CreateSubscriptionRequest{})
	data := `{"pad": "` + strings.Repeat("x", size-len(`{"pad": ""}`)) + `"}`
	expected := int64(0)
	// saved returns the most memory that the server has while events are saved and the innocent consumer gets them.
	saved := func(t *testing.T) (most uint64) {
		t.Helper()
		for range saves {
			request := &orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary}
			for range perSave {
				request.Events = append(request.Events, &orisunpb.EventToSave{
					EventId: uuid.NewString(), EventType: "T", Data: data,
				})
			}
			if _, err := store.SaveEvents(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			for range perSave {
				if got := innocent.next(t).GetEvent().GetPosition().GetGlobalId(); got != expected {
					t.Fatalf("the innocent subscription gets event %d, want %d", got, expected)
				}
				expected++
			}
			most = max(most, memoryOf(t, server))
		}
		return most
	}
	alone, live := saved(t), liveHeap(t, profiles)
	t.Logf("%d events of 16 KiB: the server has %s at most, %s live", saves*perSave, mebibytes(alone), mebibytes(live))
	for i, kind := range hostileConsumers {
		t.Run(kind.name, func(t *testing.T) {
			deliveries := openConsumer(t, server, kind.name, &orisunpb.CreateSubscriptionRequest{
				AckTimeout: durationpb.New(time.Second), MaxRefusals: 1,
			}).run(kind)
			most, held := saved(t), liveHeap(t, profiles)
			t.Logf("%d events of 16 KiB: the innocent subscription gets all, the hostile consumer %d deliveries; the server "+
				"has %s at most, %s live", saves*perSave, deliveries.Load(), mebibytes(most), mebibytes(held))
			if most > limit || held > live+uint64(i+1)*each {
				t.Errorf("the server has %s at most and %s live, and %s and %s without hostile consumers",
					mebibytes(most), mebibytes(held), mebibytes(alone), mebibytes(live))
			}
		})
	}
	last := &orisunpb.Position{GlobalId: expected - 1}
	if _, err := innocent.client.WaitForCheckpoint(t.Context(), &orisunpb.WaitForCheckpointRequest{
		Boundary: eventtest.Boundary, Subscription: "innocent", Position: last,
	}); err != nil {
		t.Error(err)
	}
	listed, err := innocent.client.ListSubscriptions(t.Context(),
		&orisunpb.ListSubscriptionsRequest{Boundary: eventtest.Boundary})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range listed.GetSubscriptions() {
		t.Logf("%s: checkpoint %d, %d parked", in.GetName(), in.GetCheckpoint().GetGlobalId(), in.GetParked())
		behind := in.GetCheckpoint().GetGlobalId() < expected-1
		isSlow := in.GetName() == "reads slowly" // on a busy machine it may be as quick as the saves
		if parked := in.GetParked(); behind == (in.GetName() == "innocent") && !isSlow || parked > 1000 {
			t.Errorf("%s: the checkpoint is %d, with %d parked", in.GetName(), in.GetCheckpoint().GetGlobalId(), parked)
		}
	}
	server.stop(t, syscall.SIGTERM)
}

// liveHeap is the server's heap after a garbage collection.
func liveHeap(t *testing.T, profiles string) (bytes uint64) {
	t.Helper()
	_, text := ask(t, http.MethodGet, "http://127.0.0.1:"+profiles+"/debug/pprof/heap?gc=1&debug=1", "")
	_, allocated, _ := strings.Cut(text, "# HeapAlloc = ")
	if _, err := fmt.Sscanf(allocated, "%d", &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// openedConsumer is a consumer with a connection and a subscription of its own.
type openedConsumer struct {
	client orisunpb.SubscriptionsClient
	stream orisunpb.Subscriptions_ConsumeClient
	queue  []*orisunpb.Delivery
}

func openConsumer(
	t *testing.T, server *process, name string, definition *orisunpb.CreateSubscriptionRequest,
) *openedConsumer {
	t.Helper()
	c := &openedConsumer{
		client: orisunpb.NewSubscriptionsClient(dial(t, server.address, grpc.WithPerRPCCredentials(basic{}))),
	}
	definition.Boundary, definition.Name = eventtest.Boundary, name
	definition.Start = &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Now{Now: true}}
	if _, err := c.client.CreateSubscription(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.stream, err = c.client.Consume(context.Background()); err != nil { // it ends with the server
		t.Fatal(err)
	}
	if err := c.stream.Send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: eventtest.Boundary, Subscription: name, Window: 10_000, ConsumerName: name,
	}}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// next receives the next delivery and acknowledges it.
func (c *openedConsumer) next(t *testing.T) *orisunpb.Delivery {
	t.Helper()
	for len(c.queue) == 0 {
		in, err := c.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		c.queue = in.GetDeliveries().GetDeliveries()
	}
	delivery := c.queue[0]
	c.queue = c.queue[1:]
	if err := c.stream.Send(acknowledgement(delivery)); err != nil {
		t.Fatal(err)
	}
	return delivery
}

// run consumes until the server ends, and counts deliveries.
func (c *openedConsumer) run(as hostileConsumer) *atomic.Int64 {
	var deliveries atomic.Int64
	go func() {
		for {
			in, err := c.stream.Recv()
			if err != nil {
				return
			}
			for _, delivery := range in.GetDeliveries().GetDeliveries() {
				deliveries.Add(1)
				if request := as.settle(delivery); request != nil && c.stream.Send(request) != nil {
					return // Recv reports why
				}
			}
			if as.pace > 0 {
				<-time.After(as.pace)
			}
		}
	}()
	return &deliveries
}
