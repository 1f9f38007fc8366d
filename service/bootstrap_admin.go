package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/service/auth"
)

// BootstrapAdmin creates the first admin, and returns whether it did. It does nothing if there is an admin already, or
// if another node is faster. The error says what is wrong with the credentials, or that the username is taken by a user
// without the role admin.
func (a *Admin) BootstrapAdmin(ctx context.Context, first auth.Credentials) (created bool, err error) {
	if _, err := a.store.queries.ProjectUsers(ctx, a.store.config.Write,
		db.ProjectUsersParams{Boundary: a.boundary}); err != nil {
		return false, fmt.Errorf("project users: %w", err)
	}
	users, err := a.store.queries.ListUsers(ctx, a.store.config.Write, a.boundary)
	if err != nil {
		return false, fmt.Errorf("list users: %w", err)
	}
	if slices.ContainsFunc(users, func(u db.OrisunUserAccount) bool { return slices.Contains(u.Roles, auth.RoleAdmin) }) {
		return false, nil
	}
	var v violations
	v.username("username", first.Username)
	v.password("password", first.Password)
	if err := v.err(); err != nil {
		return false, err
	}
	hash, err := auth.Hash(first.Password)
	if err != nil {
		return false, err
	}
	return a.store.queries.BootstrapAdmin(ctx, a.store.config.Write, db.BootstrapAdminParams{
		Boundary: a.boundary, Username: first.Username, PasswordHash: hash,
	})
}
