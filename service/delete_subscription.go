package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// DeleteSubscription deletes a subscription. Its consumers end within a second. Errors: INVALID_ARGUMENT, NOT_FOUND,
// UNAVAILABLE.
func (s *Subscriptions) DeleteSubscription(
	ctx context.Context, in *orisunpb.DeleteSubscriptionRequest,
) (*orisunpb.DeleteSubscriptionResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "name", in.GetName())
	if err := v.err(); err != nil {
		return nil, err
	}
	err := s.store.queries.DeleteSubscription(ctx, s.store.config.Write, db.DeleteSubscriptionParams{
		Boundary: in.GetBoundary(), Name: in.GetName(), AdminBoundary: s.config.AdminBoundary, Actor: actorOf(ctx),
	})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	s.changed(ctx, "subscription deleted", in.GetBoundary(), in.GetName())
	return &orisunpb.DeleteSubscriptionResponse{}, nil
}
