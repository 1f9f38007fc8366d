package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/wire"
)

// consumerStream is the server's side of Consume.
type consumerStream struct {
	grpc.ServerStream
	t *testing.T
}

func (s consumerStream) send(response *wire.ConsumeResponse) {
	s.t.Helper()
	if err := s.SendMsg(response); err != nil {
		s.t.Error(err)
	}
}

// receive returns what the client sends next as a text; "end" is the end of its side.
func (s consumerStream) receive() string {
	s.t.Helper()
	var request wire.ConsumeRequest
	if err := s.RecvMsg(&request); errors.Is(err, io.EOF) {
		return "end"
	} else if err != nil {
		s.t.Error(err)
	}
	switch {
	case request.GetStart() != nil:
		return "start"
	case request.GetAcknowledge() != nil:
		a := request.GetAcknowledge()
		return fmt.Sprintf("acknowledge %d in epoch %d", a.GetPositions()[0].GetGlobalId(), a.GetEpoch())
	default:
		return request.String()
	}
}

func (s consumerStream) begin() {
	s.t.Helper()
	if got := s.receive(); got != "start" {
		s.t.Error(got)
	}
	s.send(&wire.ConsumeResponse{Response: &wire.ConsumeResponse_Started{Started: &wire.ConsumeStarted{ConsumerId: "me"}}})
}

func (s consumerStream) deliver(epoch int64, count uint32, ids ...int64) {
	s.t.Helper()
	deliveries := &wire.Deliveries{}
	for _, id := range ids {
		deliveries.Deliveries = append(deliveries.Deliveries, &wire.Delivery{
			Event: &wire.Event{EventId: fmt.Sprint(id), Position: &wire.Position{TransactionId: id + 1, GlobalId: id}},
			Epoch: epoch, DeliveryCount: count,
		})
	}
	s.send(&wire.ConsumeResponse{Response: &wire.ConsumeResponse_Deliveries{Deliveries: deliveries}})
}

func (s consumerStream) revoke(epoch int64) {
	s.t.Helper()
	s.send(&wire.ConsumeResponse{Response: &wire.ConsumeResponse_Revoked{Revoked: &wire.PartitionsRevoked{
		Partitions: []*wire.PartitionAssignment{{Epoch: epoch}},
	}}})
}

// serveConsumers serves Consume: each stream runs one of the functions, in order.
func serveConsumers(t *testing.T, streams ...func(consumerStream) error) *client.Client {
	t.Helper()
	next := make(chan func(consumerStream) error, len(streams))
	for _, stream := range streams {
		next <- stream
	}
	healthy := health.NewServer()
	healthy.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_SERVING)
	return dial(t, "grpc://"+serve(t, healthy, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		return (<-next)(consumerStream{stream, t})
	})))
}

// The partition of an event goes to another consumer, and comes back in a later epoch, while its handler runs.
func TestTheContextOfAHandlerEndsWhenItsPartitionIsRevoked(t *testing.T) {
	begun, proceed := make(chan client.Delivery, 10), make(chan error)
	ctx, stop := cancelable(t)
	c := serveConsumers(t, func(s consumerStream) error {
		s.begin()
		s.deliver(1, 1, 7, 8)
		<-begun
		s.deliver(1, 2, 7) // the ack_timeout has passed: the handler still runs
		s.revoke(1)        // 8 is queued, and not begun any more
		s.deliver(3, 1, 7)
		proceed <- errors.New("no fault of the event")
		if d := <-begun; d.ID != "7" || d.Count != 1 {
			t.Errorf("%s comes in delivery %d", d.ID, d.Count)
		}
		proceed <- nil
		if got := s.receive(); got != "acknowledge 7 in epoch 3" {
			t.Error(got)
		}
		stop()
		if got := s.receive(); got != "end" {
			t.Error(got)
		}
		return nil
	})
	first := true
	err := c.Consume(ctx, "b", "s", func(ctx context.Context, d client.Delivery) error {
		begun <- d
		if first {
			first = false
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), client.ErrNotHeld) {
				t.Error(context.Cause(ctx))
			}
		}
		return <-proceed
	})
	if err != nil || len(begun) > 0 {
		t.Errorf("%v; %d handlers more", err, len(begun))
	}
}

func TestABrokenStreamEndsItsHandlersBeforeTheNextBegins(t *testing.T) {
	var running, handled int
	ctx, stop := cancelable(t)
	begun := make(chan struct{}, 1)
	c := serveConsumers(t,
		func(s consumerStream) error {
			s.begin()
			s.deliver(1, 1, 7)
			<-begun
			return status.Error(codes.Unavailable, "the node ends")
		},
		func(s consumerStream) error {
			s.begin()
			s.deliver(2, 1, 7)
			if got := s.receive(); got != "acknowledge 7 in epoch 2" {
				t.Error(got)
			}
			stop()
			return status.Error(codes.Unavailable, "whether it is stored is unknown")
		})
	err := c.Consume(ctx, "b", "s", func(ctx context.Context, _ client.Delivery) error {
		if running++; running > 1 {
			t.Error("two handlers run")
		}
		defer func() { running-- }()
		if handled++; handled == 1 {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	if !errors.Is(err, client.ErrUnavailable) || handled != 2 {
		t.Errorf("%v; %d were handled", err, handled)
	}
}
