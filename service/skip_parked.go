package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// SkipParked removes parked events. Errors: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE.
func (s *Subscriptions) SkipParked(
	ctx context.Context, in *orisunpb.SkipParkedRequest,
) (*orisunpb.SkipParkedResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "subscription", in.GetSubscription())
	ids := v.positions(in.GetPositions())
	if in.GetAll() == (len(ids) > 0) {
		v.add("positions", "either positions or all is required")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	events, err := s.store.queries.SkipParked(ctx, s.store.config.Write, db.SkipParkedParams{
		Boundary: in.GetBoundary(), Subscription: in.GetSubscription(), GlobalIds: ids,
	})
	if err == nil {
		s.store.logChange(ctx, "parked events skipped", "boundary", in.GetBoundary(), "subscription", in.GetSubscription(),
			"events", events)
	}
	return &orisunpb.SkipParkedResponse{Events: events}, toStatus(ctx, err)
}
