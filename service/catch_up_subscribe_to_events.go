package service

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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

// maxSubscriberBytes is the longest subscriber_name in bytes.
const maxSubscriberBytes = 256

// Feed is where subscriptions get their events.
type Feed interface {
	// Follow delivers the events of a boundary that lie after a position and match the criteria: first the stored
	// events, then new ones, in order, each once. It waits for deliver, which must not change the event. It always ends
	// with an error: deliver's, the cause of ctx, or PostgreSQL's. It stores in looked up to which global_id events were
	// delivered or do not match.
	Follow(
		ctx context.Context, boundary string, after *orisunpb.Position, criteria []*orisunpb.Criterion,
		deliver func(*orisunpb.Event) error, looked *atomic.Int64,
	) error
}

// The state of a named subscription in the stream's metadata. The header has the state at the start, and the trailer
// the state at the end. gRPC sends a header once, so a standby that becomes active cannot announce it; its first event
// shows it.
const (
	subscriptionHeader  = "x-orisun-subscription"
	subscriptionActive  = "active"
	subscriptionStandby = "standby"
)

// AcquireSubscriber waits until no other subscriber of the boundary, on any node, holds the name. Before it waits, it
// calls standby, whose error ends it. held ends, with a cause, when the name is lost; release gives the name up.
// Errors: the cause of ctx, or PostgreSQL's: OR030 for a name that belongs to another user.
type AcquireSubscriber func(ctx context.Context, boundary, name string, user SubscriberUser,
	standby func() error) (held context.Context, release func(), err error)

var (
	errDraining = streamEnds(codes.Unavailable,
		"the server is shutting down; subscribe again, after the last event that came",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	errNameLost = streamEnds(codes.Unavailable,
		"the subscriber_name was lost with the connection to PostgreSQL; subscribe again, after the last event that came",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	errReplaced = streamEnds(codes.Aborted,
		"a later subscription with this subscriber_name on the same connection replaced this one",
		&errdetails.ErrorInfo{Reason: reasonSubscriptionReplaced, Domain: domain})
)

// CatchUpSubscribeToEvents streams the events after a position, first the stored events, then new ones: in order, each
// event once. The answer's header is sent when the start of the stream is fixed: without after_position, the stream has
// every event that is committed after that. If another stream holds the subscriber_name, this stream stays open and
// waits for it, and its header says that it is a standby. A holder that uses the same connection is replaced at once.
//
// It always ends with an error. INVALID_ARGUMENT has field paths; NOT_FOUND is for an unknown boundary.
// RESOURCE_EXHAUSTED is for criteria that find no room (see package inflight), for an event larger than the send limit
// and for a subscriber_name beyond the user's limit. PERMISSION_DENIED is for a subscriber_name that another user uses.
// UNAVAILABLE means that PostgreSQL is unavailable, the name is lost or the server drains. The others are ABORTED
// (SUBSCRIPTION_REPLACED), and CANCELLED by the client.
func (s *EventStore) CatchUpSubscribeToEvents(
	in *orisunpb.CatchUpSubscribeToEventStoreRequest, stream grpc.ServerStreamingServer[orisunpb.Event],
) error {
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
	ctx, end := s.untilDraining(stream.Context(), errDraining)
	defer end(nil)
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

// criteriaBytes is the most that a subscription's criteria take while it is open: decoded, and as the JSON that
// PostgreSQL reads, in which a byte may take six.
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
	live, leave := s.live.enter(ctx, s.config.Info.GetNodeId(), after, in)
	defer leave()
	if name := in.GetSubscriberName(); name != "" {
		live.standby.Store(true)
		held, leave, err := s.takeName(ctx, end, in.GetBoundary(), name, user, stream)
		defer leave()
		if err != nil {
			return err
		}
		live.standby.Store(false)
		defer context.AfterFunc(held, func() { end(errNameLost) })()
	} else if err := sendHeader(stream, metadata.MD{}); err != nil {
		return err
	}
	return s.config.Feed.Follow(ctx, in.GetBoundary(), after, in.GetQuery().GetCriteria(),
		func(event *orisunpb.Event) error {
			if proto.Size(event) > s.config.MaxPageBytes { // Send would report it without the position
				at := event.GetPosition()
				return pageTooLarge(s.config.MaxPageBytes,
					fmt.Sprintf("the event at {%d,%d} alone is; raise that limit, or subscribe after it",
						at.GetTransactionId(), at.GetGlobalId()))
			}
			return stream.Send(event)
		}, &live.looked)
}

// takeName sends the header and returns when the subscription has its name, or with the reason why it does not get it.
// leave releases everything that takeName acquired; call it in any case.
func (s *EventStore) takeName(
	ctx context.Context, end context.CancelCauseFunc, boundary, name string, user SubscriberUser,
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
		// gRPC reports INTERNAL here, for a second header.
		return status.Error(codes.Canceled, "the client went away before the stream began")
	}
	return nil
}

// streamEnds is the status with which the server ends a stream.
func streamEnds(code codes.Code, message string, why detail) *statusError {
	s := status.New(code, message)
	if detailed, err := s.WithDetails(why); err == nil {
		s = detailed
	}
	return &statusError{status: s}
}
