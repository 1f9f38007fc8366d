package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/consumer"
	"github.com/oexza/orisun/service/inflight"
)

// errHalfClosed ends a consumer whose client has sent its last settlement.
var errHalfClosed = errors.New("the client sends no more settlements")

// Consume makes the stream a consumer of a subscription. The first request is start; the others settle events. When the
// client closes its side, what it has settled is stored, and the stream ends without an error; with UNAVAILABLE if it
// may not be stored.
//
// Errors: INVALID_ARGUMENT for a request that breaks a rule; NOT_FOUND; ABORTED (SUBSCRIPTION_RESET);
// RESOURCE_EXHAUSTED beyond ORISUN_GRPC_MAX_SUBSCRIBER_NAMES consumers of the user, or ORISUN_MAX_CONSUMERS of the
// subscription; UNAVAILABLE.
func (s *Subscriptions) Consume(
	stream grpc.BidiStreamingServer[orisunpb.ConsumeRequest, orisunpb.ConsumeResponse],
) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return withDetails(codes.InvalidArgument, "start: is required as the first request",
			&errdetails.BadRequest{
				FieldViolations: []*errdetails.BadRequest_FieldViolation{
					{Field: "start", Description: "is required as the first request"},
				},
			})
	}
	return s.consume(start, stream, func(m *consumer.Member) error {
		for {
			in, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				return errHalfClosed
			case err != nil:
				return err
			}
			if _, err := settle(m, settlement(in)); err != nil { // of a revoked epoch it has no effect
				return err
			}
		}
	})
}

// settlement is what a request of a Consume stream settles.
func settlement(in *orisunpb.ConsumeRequest) *orisunpb.SettleRequest {
	out := &orisunpb.SettleRequest{}
	switch request := in.GetRequest().(type) {
	case *orisunpb.ConsumeRequest_Acknowledge:
		out.Acknowledge = append(out.Acknowledge, request.Acknowledge)
	case *orisunpb.ConsumeRequest_Refuse:
		out.Refuse = append(out.Refuse, request.Refuse)
	case *orisunpb.ConsumeRequest_Delay:
		out.Delay = append(out.Delay, request.Delay)
	default:
		return nil
	}
	return out
}

// settle checks settlements and applies them. Its error is a gRPC status.
func settle(m *consumer.Member, in *orisunpb.SettleRequest) (stale bool, err error) {
	var v violations
	if in == nil {
		v.add("request", "is none of acknowledge, refuse and delay: start is the first request only")
		return false, v.err()
	}
	for i, a := range in.GetAcknowledge() {
		if a.GetThrough() == nil && len(a.GetPositions()) == 0 {
			v.add(fmt.Sprintf("acknowledge[%d]", i), "needs through or positions")
		}
	}
	for i, r := range in.GetRefuse() {
		if r.GetPosition() == nil {
			v.add(fmt.Sprintf("refuse[%d].position", i), "is required")
		}
		r.Reason = storedReason(r.GetReason())
	}
	for i, d := range in.GetDelay() {
		if d.GetPosition() == nil {
			v.add(fmt.Sprintf("delay[%d].position", i), "is required")
		}
		if d.GetDelay() == nil {
			v.add(fmt.Sprintf("delay[%d].delay", i), "is required")
		}
		v.duration(fmt.Sprintf("delay[%d].delay", i), d.GetDelay(), 0, 0, maxDelay)
	}
	if err := v.err(); err != nil {
		return false, err
	}
	stale, err = m.Settle(in.GetAcknowledge(), in.GetRefuse(), in.GetDelay())
	if errors.Is(err, consumer.ErrNotDelivered) {
		err = status.Error(codes.InvalidArgument, "position: "+err.Error())
	}
	return stale, err
}

// storedReason is the reason of a refusal as PostgreSQL can store it. A long one ends with an ellipsis.
func storedReason(given string) string {
	const ellipsis = "…"
	reason := strings.ReplaceAll(given, "\x00", "") // which PostgreSQL cannot store
	if len(reason) <= maxReasonBytes {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReasonBytes-len(ellipsis)], "") + ellipsis
}

// consume runs a consumer until its stream, the server or the subscription ends. receive returns at the end of the
// client's settlements.
func (s *Subscriptions) consume(
	start *orisunpb.ConsumeStart, stream grpc.ServerStreamingServer[orisunpb.ConsumeResponse],
	receive func(*consumer.Member) error,
) (err error) {
	var v violations
	v.named(start.GetBoundary(), "subscription", start.GetSubscription())
	window := v.bounded("window", start.GetWindow(), defaultWindow, maxWindow)
	v.text("consumer_name", start.GetConsumerName(), 0, maxNameBytes)
	if err := v.err(); err != nil {
		return err
	}
	ctx, end := s.store.untilDraining(stream.Context(), errDraining)
	defer end(nil)
	user := subscriberUser(ctx, start.GetBoundary())
	leave, err := s.store.names.enter(user)
	if err != nil {
		return err
	}
	defer leave()
	def, err := s.definition(ctx, start.GetBoundary(), start.GetSubscription())
	if err != nil {
		return err
	}
	if err := inflight.FromContext(ctx).Grow(criteriaBytes(def.Criteria)); err != nil {
		return err
	}
	caller, _ := auth.FromContext(ctx)
	client := consumer.Client{Name: start.GetConsumerName(), UserID: user.ID, Username: caller.Username, Window: window}
	if from, known := peer.FromContext(ctx); known {
		client.Address = from.Addr.String()
	}
	if err := sendHeader(stream, metadata.MD{}); err != nil {
		return err
	}
	member, err := s.config.Consumers.Join(ctx, def, client)
	if err != nil {
		return toStatus(ctx, err)
	}
	defer func() {
		if unstored := s.config.Consumers.Leave(member); err == nil && unstored != nil {
			err = retryLater(codes.Unavailable, "the last acknowledgements may not be stored: their events are delivered again",
				unstored)
		}
	}()
	if receive != nil {
		go func() { end(receive(member)) }()
	}
	return ended(ctx, stream.Context(), member.Run(ctx, stream.Send))
}

// ended is the status of a consumer's end.
func ended(ctx, stream context.Context, err error) error {
	var tooLarge *consumer.TooLargeError
	cause := context.Cause(ctx)
	switch _, isStatus := status.FromError(cause); {
	case errors.Is(cause, errHalfClosed):
		return nil
	case stream.Err() != nil:
		return status.FromContextError(stream.Err()).Err()
	case cause != nil && isStatus:
		return cause
	case errors.As(err, &tooLarge):
		return withDetails(codes.ResourceExhausted,
			fmt.Sprintf("the event at {%d,%d} is larger than ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE: raise that limit",
				tooLarge.Position.GetTransactionId(), tooLarge.Position.GetGlobalId()))
	case errors.Is(err, consumer.ErrDeleted):
		return status.Error(codes.NotFound, "the subscription was deleted")
	case errors.Is(err, consumer.ErrReset):
		return withDetails(codes.Aborted, "the subscription was reset: consume again, from its new position",
			&errdetails.ErrorInfo{Reason: reasonSubscriptionReset, Domain: domain},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	return toStatus(stream, err)
}

// definition reads a subscription for its consumers. Its error is a gRPC status.
func (s *Subscriptions) definition(ctx context.Context, boundary, name string) (consumer.Definition, error) {
	rows, err := s.store.queries.ListSubscriptions(ctx, s.store.config.Read,
		db.ListSubscriptionsParams{Boundary: boundary, Name: name})
	if err != nil {
		return consumer.Definition{}, toStatus(ctx, err)
	}
	row := rows[0]
	criteria, err := loadCriteria(row.Criteria)
	return consumer.Definition{
		Boundary: row.Boundary, Name: row.Name, Generation: row.Generation.String(), Criteria: criteria,
		PartitionKey: row.PartitionKey,
		Partitions:   int(row.Partitions), AckTimeout: time.Duration(row.AckTimeoutMs) * time.Millisecond,
		MaxRefusals: int(row.MaxRefusals), ParkFollowing: row.ParkFollowing,
	}, toStatus(ctx, err)
}
