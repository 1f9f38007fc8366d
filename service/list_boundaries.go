package service

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ListBoundaries lists all boundaries by name: those of the configuration, those created since, and those that could
// not be provisioned, with the reason; each with the number of its indexes, if they can be counted. Error: UNAVAILABLE.
func (a *Admin) ListBoundaries(
	ctx context.Context, _ *orisunpb.ListBoundariesRequest,
) (*orisunpb.ListBoundariesResponse, error) {
	rows, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.OrisunBoundary, error) {
		return a.store.queries.ListBoundaries(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	indexes, counted := a.countIndexes(ctx)
	answer := &orisunpb.ListBoundariesResponse{}
	for _, row := range rows {
		info := boundaryInfo(row)
		if counted {
			info.Indexes = proto.Int64(indexes[info.GetName()])
		}
		answer.Boundaries = append(answer.Boundaries, info)
	}
	return answer, nil
}

// countIndexes returns the number of indexes by boundary, and whether it is known. The log has the first failure in a
// row.
func (a *Admin) countIndexes(ctx context.Context) (indexes map[string]int64, counted bool) {
	counts, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.CountIndexesRow, error) {
		return a.store.queries.CountIndexes(ctx, tx)
	})
	if err != nil {
		if !a.indexesUncounted.Swap(true) {
			a.store.config.Log.Warn("ListBoundaries lacks the number of indexes: they cannot be counted", "error", err)
		}
		return nil, false
	}
	a.indexesUncounted.Store(false)
	indexes = make(map[string]int64, len(counts))
	for _, count := range counts {
		indexes[count.Boundary] = count.Indexes
	}
	return indexes, true
}
