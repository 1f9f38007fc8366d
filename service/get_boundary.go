package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// GetBoundary returns one boundary's definition and status. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND,
// UNAVAILABLE.
func (a *Admin) GetBoundary(
	ctx context.Context, in *orisunpb.GetBoundaryRequest,
) (*orisunpb.GetBoundaryResponse, error) {
	var v violations
	v.text("name", in.GetName(), 1, maxBoundaryBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	row, err := reading(ctx, a.store, in.GetName(), func(tx db.DBTX) (db.OrisunBoundary, error) {
		return a.store.queries.GetBoundary(ctx, tx, in.GetName())
	})
	if err != nil {
		return nil, err
	}
	return &orisunpb.GetBoundaryResponse{Boundary: boundaryInfo(row)}, nil
}
