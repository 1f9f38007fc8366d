package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// GetUserCount counts the users who are not deleted. Errors: UNAVAILABLE.
func (a *Admin) GetUserCount(ctx context.Context, _ *orisunpb.GetUserCountRequest) (*orisunpb.GetUserCountResponse, error) {
	count, err := a.store.queries.CountUsers(ctx, a.store.config.Read, a.boundary)
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	return &orisunpb.GetUserCountResponse{Count: count}, nil
}
