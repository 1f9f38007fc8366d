package service

import (
	"context"
	"slices"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// CreateUser creates a user. When it answers, the user can log in on every node.
//
// Errors: INVALID_ARGUMENT with field paths, ALREADY_EXISTS for a username that is taken, UNAVAILABLE.
func (a *Admin) CreateUser(ctx context.Context, in *orisunpb.CreateUserRequest) (*orisunpb.CreateUserResponse, error) {
	var v violations
	v.text("name", in.GetName(), 1, maxNameBytes)
	v.username("username", in.GetUsername())
	v.password("password", in.GetPassword())
	granted := v.grants("boundary_permissions", in.GetBoundaryPermissions())
	roles := granted
	if len(granted) == 0 || len(in.GetRoles()) > 0 {
		roles = v.roles("roles", slices.Concat(in.GetRoles(), granted))
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	hash, err := auth.Hash(in.GetPassword())
	if err != nil {
		return nil, internal(err)
	}
	var user db.OrisunUserAccount
	err = a.changeUser(ctx, func(ctx context.Context) (err error) {
		user, err = a.store.queries.CreateUser(ctx, a.store.config.Write, db.CreateUserParams{
			Boundary: a.boundary, Username: in.GetUsername(), Name: in.GetName(), Roles: roles, PasswordHash: hash,
			Metadata: actor(ctx),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	a.store.logChange(ctx, "user created", "user", user.Username, "user_id", user.UserID, "roles", user.Roles)
	answer := toAdminUser(user)
	return &orisunpb.CreateUserResponse{User: answer, Warnings: a.unknownBoundaries(ctx, answer)}, nil
}
