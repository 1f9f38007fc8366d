package service

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// DeleteUser deletes a user other than the caller. When it answers, no node accepts the user's password or tokens any
// more. The events about the user stay; its username is free again.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown user, FAILED_PRECONDITION for one's own account,
// UNAVAILABLE.
func (a *Admin) DeleteUser(ctx context.Context, in *orisunpb.DeleteUserRequest) (*orisunpb.DeleteUserResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	if caller, _ := auth.FromContext(ctx); caller.UserID == in.GetUserId() {
		return nil, status.Error(codes.FailedPrecondition,
			"the user to delete is the caller: another admin has to delete the account")
	}
	userID := in.GetUserId()
	deleted, err := a.store.queries.FindLogin(ctx, a.store.config.Read, db.FindLoginParams{
		Boundary: a.boundary, UserID: &userID,
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, toStatus(ctx, err)
	}
	err = a.changeUser(ctx, func(ctx context.Context) error {
		return a.store.queries.DeleteUser(ctx, a.store.config.Write, db.DeleteUserParams{
			Boundary: a.boundary, UserID: in.GetUserId(), Metadata: actor(ctx),
		})
	})
	if err != nil {
		return nil, err
	}
	a.store.logChange(ctx, "user deleted", "user", deleted.Username, "user_id", userID)
	if err := a.callers.Settle(ctx); err != nil {
		return nil, err
	}
	return &orisunpb.DeleteUserResponse{Success: true}, nil
}
