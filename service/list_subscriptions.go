package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
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
	return &orisunpb.ListSubscriptionsResponse{Subscriptions: all}, err
}
