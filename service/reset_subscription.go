package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ResetSubscription moves a subscription to a position. Its consumers end within a second. Errors: INVALID_ARGUMENT,
// NOT_FOUND, UNAVAILABLE.
func (s *Subscriptions) ResetSubscription(
	ctx context.Context, in *orisunpb.ResetSubscriptionRequest,
) (*orisunpb.ResetSubscriptionResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "name", in.GetName())
	if in.GetStart().GetStart() == nil {
		v.add("start", "is required")
	}
	v.start(in.GetStart())
	if err := v.err(); err != nil {
		return nil, err
	}
	start, err := s.startPosition(ctx, in.GetBoundary(), in.GetStart())
	if err != nil {
		return nil, err
	}
	err = s.store.queries.ResetSubscription(ctx, s.store.config.Write, db.ResetSubscriptionParams{
		Boundary: in.GetBoundary(), Name: in.GetName(), TransactionID: start.GetTransactionId(),
		GlobalID:      start.GetGlobalId(),
		AdminBoundary: s.config.AdminBoundary, Actor: actorOf(ctx),
	})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	s.changed(ctx, "subscription reset", in.GetBoundary(), in.GetName())
	subscription, err := s.readOne(ctx, in.GetBoundary(), in.GetName())
	return &orisunpb.ResetSubscriptionResponse{Subscription: subscription}, err
}
