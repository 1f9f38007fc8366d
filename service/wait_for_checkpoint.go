package service

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/consumer"
)

// WaitForCheckpoint returns when a subscription has acknowledged everything up to a position. Errors: INVALID_ARGUMENT,
// NOT_FOUND, DEADLINE_EXCEEDED with the position that was reached, UNAVAILABLE.
func (s *Subscriptions) WaitForCheckpoint(
	ctx context.Context, in *orisunpb.WaitForCheckpointRequest,
) (*orisunpb.WaitForCheckpointResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "subscription", in.GetSubscription())
	if in.GetPosition() == nil {
		v.add("position", "is required")
	}
	timeout := v.duration("timeout", in.GetTimeout(), defaultWait, 0, maxCheckpointWait)
	if err := v.err(); err != nil {
		return nil, err
	}
	waiting, end := s.store.untilDraining(ctx, errDraining)
	defer end(nil)
	until := in.GetPosition().GetGlobalId()
	at, err := s.config.Consumers.Wait(waiting, in.GetBoundary(), in.GetSubscription(), until, timeout)
	switch {
	case err == nil:
		return &orisunpb.WaitForCheckpointResponse{Checkpoint: at}, nil
	case errors.Is(err, consumer.ErrUnknown):
		return nil, status.Errorf(codes.NotFound, "boundary %q has no subscription '%s'",
			in.GetBoundary(), in.GetSubscription())
	case errors.Is(err, consumer.ErrNotReached):
		return nil, status.Error(codes.DeadlineExceeded,
			fmt.Sprintf("the subscription is at {%d,%d} after %s, before the position {%d,%d}",
				at.GetTransactionId(), at.GetGlobalId(), timeout, in.GetPosition().GetTransactionId(), until))
	}
	return nil, toStatus(waiting, err)
}
