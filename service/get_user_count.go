package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// GetUserCount counts the users that are not deleted. Errors: UNAVAILABLE.
func (a *Admin) GetUserCount(
	ctx context.Context, _ *orisunpb.GetUserCountRequest,
) (*orisunpb.GetUserCountResponse, error) {
	count, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) (int64, error) {
		return a.store.queries.CountUsers(ctx, tx, a.boundary)
	})
	if err != nil {
		return nil, err
	}
	return &orisunpb.GetUserCountResponse{Count: count}, nil
}
