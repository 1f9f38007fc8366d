package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ListUsers lists all users that are not deleted, by username. Errors: UNAVAILABLE.
func (a *Admin) ListUsers(ctx context.Context, _ *orisunpb.ListUsersRequest) (*orisunpb.ListUsersResponse, error) {
	users, err := reading(ctx, a.store, a.boundary, func(tx db.DBTX) ([]db.OrisunUserAccount, error) {
		return a.store.queries.ListUsers(ctx, tx, a.boundary)
	})
	if err != nil {
		return nil, err
	}
	answer := &orisunpb.ListUsersResponse{Users: make([]*orisunpb.AdminUser, len(users))}
	for i, user := range users {
		answer.Users[i] = toAdminUser(user)
	}
	return answer, nil
}
