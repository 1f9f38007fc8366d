package service

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ListBoundaries lists all boundaries by name: those of the configuration, those created since, and those that could
// not be provisioned, with the reason; each with the number of its indexes. Error: UNAVAILABLE.
func (a *Admin) ListBoundaries(
	ctx context.Context, _ *orisunpb.ListBoundariesRequest,
) (*orisunpb.ListBoundariesResponse, error) {
	rows, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.OrisunBoundary, error) {
		return a.store.queries.ListBoundaries(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	counts, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.CountIndexesRow, error) {
		return a.store.queries.CountIndexes(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	indexes := make(map[string]int64, len(counts))
	for _, count := range counts {
		indexes[count.Boundary] = count.Indexes
	}
	answer := &orisunpb.ListBoundariesResponse{}
	for _, row := range rows {
		info := boundaryInfo(row)
		info.Indexes = proto.Int64(indexes[info.GetName()])
		answer.Boundaries = append(answer.Boundaries, info)
	}
	return answer, nil
}
