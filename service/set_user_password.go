package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// SetUserPassword gives a user other than the caller a new password. When it answers, no node accepts the old one or an
// earlier token of the user.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown user, FAILED_PRECONDITION for one's own account,
// UNAVAILABLE.
func (a *Admin) SetUserPassword(
	ctx context.Context, in *orisunpb.SetUserPasswordRequest,
) (*orisunpb.SetUserPasswordResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	v.password("new_password", in.GetNewPassword())
	if err := v.err(); err != nil {
		return nil, err
	}
	if caller, _ := auth.FromContext(ctx); caller.UserID == in.GetUserId() {
		return nil, status.Error(codes.FailedPrecondition,
			"the password to set is the caller's own: ChangePassword changes it, with the current one")
	}
	hash, err := auth.Hash(in.GetNewPassword())
	if err != nil {
		return nil, internal(err)
	}
	var user db.OrisunUserAccount
	err = a.changeUser(ctx, func(ctx context.Context) (err error) {
		user, err = a.store.queries.ChangeUserPassword(ctx, a.store.config.Write, db.ChangeUserPasswordParams{
			Boundary: a.boundary, UserID: in.GetUserId(), PasswordHash: hash, Metadata: actor(ctx),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	a.store.logChange(ctx, "password set", "user", user.Username, "user_id", user.UserID)
	if err := a.callers.Settle(ctx); err != nil {
		return nil, err
	}
	return &orisunpb.SetUserPasswordResponse{}, nil
}
