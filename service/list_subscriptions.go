package service

import (
	"context"

	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// ListSubscriptions lists the subscriptions of a boundary with their state. Errors: INVALID_ARGUMENT, NOT_FOUND,
// UNAVAILABLE.
func (s *Subscriptions) ListSubscriptions(
	ctx context.Context, in *orisunpb.ListSubscriptionsRequest,
) (*orisunpb.ListSubscriptionsResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	if err := v.err(); err != nil {
		return nil, err
	}
	all, err := s.read(ctx, in.GetBoundary(), "")
	if err != nil {
		return nil, err
	}
	if in.GetWithoutPartitionStates() {
		for _, subscription := range all {
			subscription.PartitionStates = nil
		}
	}
	out := &orisunpb.ListSubscriptionsResponse{Subscriptions: all}
	return out, inflight.FromContext(ctx).Grow(proto.Size(out))
}
