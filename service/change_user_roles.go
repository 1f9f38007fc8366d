package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// ChangeUserRoles replaces the roles of a user other than the caller. When it answers, the new roles are in force on
// every node, and the user's earlier tokens are void.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown user, FAILED_PRECONDITION for one's own account,
// UNAVAILABLE.
func (a *Admin) ChangeUserRoles(
	ctx context.Context, in *orisunpb.ChangeUserRolesRequest,
) (*orisunpb.ChangeUserRolesResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	roles := v.roles("roles", in.GetRoles())
	if err := v.err(); err != nil {
		return nil, err
	}
	user, warnings, err := a.changeRoles(ctx, in.GetUserId(), func(ctx context.Context) (db.OrisunUserAccount, error) {
		return a.store.queries.ChangeUserRoles(ctx, a.store.config.Write, db.ChangeUserRolesParams{
			Boundary: a.boundary, UserID: in.GetUserId(), Roles: roles, Metadata: actor(ctx),
		})
	})
	if err != nil {
		return nil, err
	}
	return &orisunpb.ChangeUserRolesResponse{User: user, Warnings: warnings}, nil
}

// changeRoles changes the roles of a user other than the caller by a query, and waits until the change is in force. The
// warnings are of roles in boundaries that do not exist.
func (a *Admin) changeRoles(
	ctx context.Context, userID string, change func(context.Context) (db.OrisunUserAccount, error),
) (*orisunpb.AdminUser, []string, error) {
	if caller, _ := auth.FromContext(ctx); caller.UserID == userID {
		return nil, nil, status.Error(codes.FailedPrecondition,
			"the roles to change are the caller's own: another admin has to change them")
	}
	var user db.OrisunUserAccount
	err := a.changeUser(ctx, func(ctx context.Context) (err error) {
		user, err = change(ctx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	a.store.logChange(ctx, "roles changed", "user", user.Username, "user_id", user.UserID, "roles", user.Roles)
	if err := a.callers.Settle(ctx); err != nil {
		return nil, nil, err
	}
	answer := toAdminUser(user)
	return answer, a.unknownBoundaries(ctx, answer), nil
}
