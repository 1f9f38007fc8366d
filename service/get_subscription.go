package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// GetSubscription returns one subscription with its state. Errors: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE.
func (s *Subscriptions) GetSubscription(
	ctx context.Context, in *orisunpb.GetSubscriptionRequest,
) (*orisunpb.GetSubscriptionResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "name", in.GetName())
	if err := v.err(); err != nil {
		return nil, err
	}
	subscription, err := s.readOne(ctx, in.GetBoundary(), in.GetName())
	if err != nil {
		return nil, err
	}
	answer := &orisunpb.GetSubscriptionResponse{Subscription: subscription}
	if in.GetWithLagHistory() {
		answer.LagHistory = s.config.Lag.History(in.GetBoundary(), in.GetName(), subscription.GetCreatedAt().AsTime())
	}
	return answer, nil
}
