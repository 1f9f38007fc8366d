package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ListBoundaries lists all boundaries by name: those of the configuration, those created since, and those that could
// not be provisioned, with the reason. Error: UNAVAILABLE.
func (a *Admin) ListBoundaries(
	ctx context.Context, _ *orisunpb.ListBoundariesRequest,
) (*orisunpb.ListBoundariesResponse, error) {
	rows, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.OrisunBoundary, error) {
		return a.store.queries.ListBoundaries(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	answer := &orisunpb.ListBoundariesResponse{}
	for _, row := range rows {
		answer.Boundaries = append(answer.Boundaries, boundaryInfo(row))
	}
	return answer, nil
}
