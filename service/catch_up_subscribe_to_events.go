package service

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// maxSubscriberBytes is the most that a subscriber_name may have.
const maxSubscriberBytes = 256

// Feed is where subscriptions get their events.
type Feed interface {
	// Follow delivers the events of a boundary that lie after a position and match the criteria, in order, each once, first those that are
	// stored, then those that come. It waits for deliver, which must not change the event. It ends with an error always: deliver's, the
	// cause of ctx, or PostgreSQL's.
	Follow(ctx context.Context, boundary string, after *orisunpb.Position, criteria []*orisunpb.Criterion, deliver func(*orisunpb.Event) error) error
}

// subscriptionHeader is where a named subscription says what it is: in the header what it begins as, in the trailer what it ended as. A standby that becomes
// active cannot say so in between, as gRPC sends a header once; its first event does.
const (
	subscriptionHeader  = "x-orisun-subscription"
	subscriptionActive  = "active"
	subscriptionStandby = "standby"
)

// AcquireSubscriber waits until no other subscriber of the boundary, on any node, holds the name; before it waits, it calls standby, whose error ends it.
// held ends, with a cause, when the name is lost; release gives it up. Errors: the cause of ctx, or PostgreSQL's: OR030
// for a name that belongs to another user.
type AcquireSubscriber func(ctx context.Context, boundary, name string, user SubscriberUser, standby func() error) (held context.Context, release func(), err error)

var (
	errDraining = streamEnds(codes.Unavailable, "the server is shutting down; subscribe again, after the last event that came",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	errNameLost = streamEnds(codes.Unavailable, "the subscriber_name was lost with the connection to PostgreSQL; subscribe again, after the last event that came",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	errReplaced = streamEnds(codes.Aborted, "a later subscription with this subscriber_name on the same connection replaced this one",
		&errdetails.ErrorInfo{Reason: reasonSubscriptionReplaced, Domain: domain})
)

// CatchUpSubscribeToEvents streams what is stored after a position, then what comes: in order, each event once. The answer's header comes when
// it is settled where the stream begins: without after_position, every event committed from then on is in it. A subscriber_name
// that another stream holds is waited for, with the stream open; the header says that it is a standby. The holder is replaced at once where it came by
// the same connection.
//
// It ends with an error always: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, RESOURCE_EXHAUSTED for criteria
// that find no room (see package inflight), for an event larger than the send limit and for a subscriber_name beyond the user's limit, PERMISSION_DENIED for one that another user uses, UNAVAILABLE when PostgreSQL is
// away, the name is lost or the server drains, ABORTED (SUBSCRIPTION_REPLACED), CANCELLED by the client.
func (s *EventStore) CatchUpSubscribeToEvents(in *orisunpb.CatchUpSubscribeToEventStoreRequest, stream grpc.ServerStreamingServer[orisunpb.Event]) error {
	var v violations
	v.boundary(in.GetBoundary())
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	v.text("subscriber_name", in.GetSubscriberName(), 0, maxSubscriberBytes)
	if err := v.err(); err != nil {
		return err
	}
	if s.config.Feed == nil {
		return status.Error(codes.Unimplemented, "this server has no feed for subscriptions")
	}
	if err := inflight.FromContext(stream.Context()).Grow(criteriaBytes(in.GetQuery().GetCriteria())); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	if s.config.Serving != nil {
		defer context.AfterFunc(s.config.Serving, func() { end(errDraining) })()
	}
	err := s.subscribe(ctx, end, in, stream)
	var ours *statusError
	switch _, isStatus := status.FromError(err); {
	case stream.Context().Err() != nil:
		return status.FromContextError(stream.Context().Err()).Err()
	case errors.As(context.Cause(ctx), &ours):
		return ours
	case isStatus:
		return err
	default:
		return toStatus(ctx, err)
	}
}

// criteriaBytes is the most that a subscription's criteria take as long as it is open: decoded, and as the JSON that PostgreSQL reads, in which
// a byte may take six.
func criteriaBytes(criteria []*orisunpb.Criterion) (bytes int) {
	const tagBytes = 128
	for _, criterion := range criteria {
		bytes += tagBytes
		for _, tag := range criterion.GetTags() {
			bytes += tagBytes + (1+6)*(len(tag.GetKey())+len(tag.GetValue()))
		}
	}
	return bytes
}

func (s *EventStore) subscribe(ctx context.Context, end context.CancelCauseFunc,
	in *orisunpb.CatchUpSubscribeToEventStoreRequest, stream grpc.ServerStreamingServer[orisunpb.Event],
) error {
	user := subscriberUser(ctx, in.GetBoundary())
	if in.GetSubscriberName() != "" {
		leave, err := s.names.enter(user)
		if err != nil {
			return err
		}
		defer leave()
	}
	last, err := s.lastPosition(ctx, in.GetBoundary())
	if err != nil {
		return err
	}
	after := in.GetAfterPosition()
	if after == nil {
		after = &orisunpb.Position{TransactionId: last.TransactionID, GlobalId: last.GlobalID}
	}
	if name := in.GetSubscriberName(); name != "" {
		held, leave, err := s.takeName(ctx, end, in.GetBoundary(), name, user, stream)
		defer leave()
		if err != nil {
			return err
		}
		defer context.AfterFunc(held, func() { end(errNameLost) })()
	} else if err := sendHeader(stream, metadata.MD{}); err != nil {
		return err
	}
	return s.config.Feed.Follow(ctx, in.GetBoundary(), after, in.GetQuery().GetCriteria(), func(event *orisunpb.Event) error {
		if proto.Size(event) > s.config.MaxPageBytes { // Send would say so without the position
			at := event.GetPosition()
			return pageTooLarge(s.config.MaxPageBytes, fmt.Sprintf("the event at {%d,%d} alone is; raise that limit, or subscribe after it",
				at.GetTransactionId(), at.GetGlobalId()))
		}
		return stream.Send(event)
	})
}

// takeName sends the header and returns when the subscription has its name, or why it does not get it. leave ends what it began, in any case.
func (s *EventStore) takeName(ctx context.Context, end context.CancelCauseFunc, boundary, name string, user SubscriberUser,
	stream grpc.ServerStreamingServer[orisunpb.Event],
) (held context.Context, leave func(), err error) {
	key := subscriberOf(ctx, boundary, name)
	subscription, lease := s.named.enter(key, end)
	state, sent := subscriptionActive, false
	leave = func() {
		s.named.leave(key, subscription)
		if sent {
			stream.SetTrailer(metadata.Pairs(subscriptionHeader, state))
		}
	}
	send := func() error {
		sent = true
		return sendHeader(stream, metadata.Pairs(subscriptionHeader, state))
	}
	if lease == nil {
		lease = &subscriberLease{}
		lease.held, lease.release, err = s.config.AcquireSubscriber(ctx, boundary, name, user, func() error {
			state = subscriptionStandby
			return send()
		})
		if err != nil {
			return nil, leave, err
		}
		state = subscriptionActive
		if !s.named.activate(key, subscription, lease) {
			lease.release()
			return nil, leave, errReplaced
		}
	}
	if !sent {
		err = send()
	}
	return lease.held, leave, err
}

func sendHeader(stream grpc.ServerStream, header metadata.MD) error {
	if err := stream.SendHeader(header); err != nil {
		return status.Error(codes.Canceled, "the client went away before the stream began") // gRPC calls it INTERNAL: a second header
	}
	return nil
}

// streamEnds is how a stream ends that the server ends.
func streamEnds(code codes.Code, message string, why detail) *statusError {
	s := status.New(code, message)
	if detailed, err := s.WithDetails(why); err == nil {
		s = detailed
	}
	return &statusError{status: s}
}
