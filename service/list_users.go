package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// ListUsers lists all users who are not deleted, by username. Errors: UNAVAILABLE.
func (a *Admin) ListUsers(ctx context.Context, _ *orisunpb.ListUsersRequest) (*orisunpb.ListUsersResponse, error) {
	users, err := a.store.queries.ListUsers(ctx, a.store.config.Read, a.boundary)
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	answer := &orisunpb.ListUsersResponse{Users: make([]*orisunpb.AdminUser, len(users))}
	for i, user := range users {
		answer.Users[i] = toAdminUser(user)
	}
	return answer, nil
}
