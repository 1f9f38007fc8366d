package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// GetEventCount counts the events of a boundary. global_ids count from 0 without gaps, so the count is the last one
// plus one, however many events there are.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, UNAVAILABLE.
func (a *Admin) GetEventCount(
	ctx context.Context, in *orisunpb.GetEventCountRequest,
) (*orisunpb.GetEventCountResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	if err := v.err(); err != nil {
		return nil, err
	}
	last, err := a.store.lastPosition(ctx, in.GetBoundary())
	if err != nil {
		return nil, err
	}
	return &orisunpb.GetEventCountResponse{Count: last.GlobalID + 1}, nil
}
