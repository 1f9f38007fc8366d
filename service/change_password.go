package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// ChangePassword changes the caller's own password. When it answers, no node accepts the old one or an earlier token,
// the caller's included.
//
// Errors: INVALID_ARGUMENT with field paths, PERMISSION_DENIED for another user's account, UNAUTHENTICATED for a wrong
// current password, RESOURCE_EXHAUSTED with RetryInfo after too many of those, UNAVAILABLE.
func (a *Admin) ChangePassword(
	ctx context.Context, in *orisunpb.ChangePasswordRequest,
) (*orisunpb.ChangePasswordResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	if in.GetCurrentPassword() == "" {
		v.add("current_password", "is required")
	}
	v.password("new_password", in.GetNewPassword())
	if err := v.err(); err != nil {
		return nil, err
	}
	caller, err := auth.Own(ctx, in.GetUserId())
	if err != nil {
		return nil, err
	}
	var hash string
	err = a.changeUser(ctx, func(ctx context.Context) error {
		login, err := a.callers.Verify(ctx, auth.Credentials{Username: caller.Username, Password: in.GetCurrentPassword()})
		switch {
		case status.Code(err) == codes.Unauthenticated || err == nil && login.UserID != caller.UserID:
			return status.Error(codes.Unauthenticated, "the current password is wrong")
		case err != nil:
			return err
		}
		if hash == "" { // the new password is not hashed for callers that guess at the current one
			if hash, err = auth.Hash(in.GetNewPassword()); err != nil {
				return internal(err)
			}
		}
		_, err = a.store.queries.ChangeUserPassword(ctx, a.store.config.Write, db.ChangeUserPasswordParams{
			Boundary: a.boundary, UserID: login.UserID, PasswordHash: hash, Epoch: &login.Epoch, Metadata: actor(ctx),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	a.store.logChange(ctx, "password changed", "user", caller.Username, "user_id", caller.UserID)
	if err := a.callers.Settle(ctx); err != nil {
		return nil, err
	}
	return &orisunpb.ChangePasswordResponse{Success: true}, nil
}
