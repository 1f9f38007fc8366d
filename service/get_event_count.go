package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// GetEventCount counts the events of a boundary. As a global_id counts them from 0 without gaps, that is the last one plus one, whatever the number.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, UNAVAILABLE.
func (a *Admin) GetEventCount(ctx context.Context, in *orisunpb.GetEventCountRequest) (*orisunpb.GetEventCountResponse, error) {
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
