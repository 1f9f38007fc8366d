package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// ListBoundaries lists all boundaries by name: those of the configuration, those created since, and those that could not be provisioned,
// with why. Error: UNAVAILABLE.
func (a *Admin) ListBoundaries(ctx context.Context, _ *orisunpb.ListBoundariesRequest) (*orisunpb.ListBoundariesResponse, error) {
	rows, err := a.store.queries.ListBoundaries(ctx, a.store.config.Read)
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	answer := &orisunpb.ListBoundariesResponse{}
	for _, row := range rows {
		answer.Boundaries = append(answer.Boundaries, boundaryInfo(row))
	}
	return answer, nil
}
