package service

import (
	"context"
	"fmt"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ReplayParked has parked events delivered again. Errors: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE.
func (s *Subscriptions) ReplayParked(
	ctx context.Context, in *orisunpb.ReplayParkedRequest,
) (*orisunpb.ReplayParkedResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "subscription", in.GetSubscription())
	ids := v.positions(in.GetPositions())
	if err := v.err(); err != nil {
		return nil, err
	}
	events, err := s.store.queries.ReplayParked(ctx, s.store.config.Write, db.ReplayParkedParams{
		Boundary: in.GetBoundary(), Subscription: in.GetSubscription(), GlobalIds: ids,
	})
	return &orisunpb.ReplayParkedResponse{Events: events}, toStatus(ctx, err)
}

// positions checks the positions of parked events, and returns their global_ids.
func (v *violations) positions(positions []*orisunpb.Position) []int64 {
	if len(positions) > maxParkedPage {
		v.add("positions", "has %d, at most %d are allowed", len(positions), maxParkedPage)
	}
	ids := make([]int64, len(positions))
	for i, at := range positions {
		if at == nil {
			v.add(fmt.Sprintf("positions[%d]", i), "is required")
		}
		ids[i] = at.GetGlobalId()
	}
	return ids
}
