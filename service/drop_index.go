package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// DropIndex removes an index and its definition; criteria that it served are still answered, more slowly. If any node
// makes or drops another index of the boundary, the call waits for it.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary or index, UNAVAILABLE.
func (s *EventStore) DropIndex(
	ctx context.Context, in *orisunpb.DropIndexRequest,
) (*orisunpb.DropIndexResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	v.text("name", in.GetName(), 1, maxIdentifierBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	err := s.changeIndexes(ctx, in.GetBoundary(), func(ctx context.Context, tx db.DBTX) ([]string, error) {
		return s.queries.DropIndex(ctx, tx, db.DropIndexParams{Boundary: in.GetBoundary(), Name: in.GetName()})
	})
	if err != nil {
		return nil, err
	}
	s.logChange(ctx, "index dropped", "boundary", in.GetBoundary(), "index", in.GetName())
	return &orisunpb.DropIndexResponse{}, nil
}
