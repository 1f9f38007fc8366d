package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// ValidateCredentials returns the user of these credentials; if they are wrong, success is false and there is no user.
// Wrong ones count against their user and the caller's address, as in a login.
//
// Errors: INVALID_ARGUMENT with field paths, PERMISSION_DENIED for another user's credentials unless the caller is an
// admin, RESOURCE_EXHAUSTED with RetryInfo after too many wrong ones, UNAVAILABLE.
func (a *Admin) ValidateCredentials(
	ctx context.Context, in *orisunpb.ValidateCredentialsRequest,
) (*orisunpb.ValidateCredentialsResponse, error) {
	var v violations
	v.text("username", in.GetUsername(), 1, maxNameBytes)
	if in.GetPassword() == "" {
		v.add("password", "is required")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	if err := auth.OwnOrAdmin(ctx, in.GetUsername()); err != nil {
		return nil, err
	}
	login, err := a.callers.Verify(ctx, auth.Credentials{Username: in.GetUsername(), Password: in.GetPassword()})
	if status.Code(err) == codes.Unauthenticated {
		return &orisunpb.ValidateCredentialsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &orisunpb.ValidateCredentialsResponse{Success: true, User: &orisunpb.AdminUser{
		UserId: login.UserID, Name: login.Name, Username: login.Username, Roles: login.Roles,
		CreatedAt: timestamppb.New(login.CreatedAt), UpdatedAt: timestamppb.New(login.UpdatedAt),
		BoundaryPermissions: permissionsOf(login.Roles),
	}}, nil
}
