package client

import (
	"context"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// User is an account that may call the server.
type User struct {
	ID, Name, Username string
	// Roles are admin, operations and user, and in one boundary read:BOUNDARY, write:BOUNDARY and admin:BOUNDARY.
	Roles                []string
	CreatedAt, UpdatedAt time.Time
}

// CreateUser creates a user with a username, a password and roles, who can log in on every node when it returns.
// Warnings are about probable mistakes, such as a role in a boundary that does not exist.
func (c *Client) CreateUser(
	ctx context.Context, user User, password string,
) (created User, warnings []string, err error) {
	var out wire.CreateUserResponse
	err = c.call(ctx, admin+"CreateUser", once, &wire.CreateUserRequest{
		Name: user.Name, Username: user.Username, Password: password, Roles: user.Roles,
	}, &out)
	return userFrom(out.GetUser()), out.GetWarnings(), err
}

// DeleteUser deletes another user than the caller.
func (c *Client) DeleteUser(ctx context.Context, id string) error {
	return c.call(ctx, admin+"DeleteUser", once, &wire.DeleteUserRequest{UserId: id}, &wire.DeleteUserResponse{})
}

// ChangePassword changes the caller's own password. A client that was dialled with the old one cannot log in any more.
func (c *Client) ChangePassword(ctx context.Context, id, current, next string) error {
	in := &wire.ChangePasswordRequest{UserId: id, CurrentPassword: current, NewPassword: next}
	return c.call(ctx, admin+"ChangePassword", once, in, &wire.ChangePasswordResponse{})
}

// SetPassword gives another user than the caller a new password. It returns when no node accepts the old one or a token
// of the user.
func (c *Client) SetPassword(ctx context.Context, id, next string) error {
	in := &wire.SetUserPasswordRequest{UserId: id, NewPassword: next}
	return c.call(ctx, admin+"SetUserPassword", repeat, in, &wire.SetUserPasswordResponse{})
}

// EndSessions voids all tokens of a user, and ends its subscriptions. Clients that have the password log in again.
func (c *Client) EndSessions(ctx context.Context, id string) error {
	in := &wire.EndUserSessionsRequest{UserId: id}
	return c.call(ctx, admin+"EndUserSessions", repeat, in, &wire.EndUserSessionsResponse{})
}

// ChangeRoles replaces the roles of another user than the caller. It returns when they are in force on every node.
func (c *Client) ChangeRoles(
	ctx context.Context, id string, roles ...string,
) (changed User, warnings []string, err error) {
	var out wire.ChangeUserRolesResponse
	err = c.call(ctx, admin+"ChangeUserRoles", repeat, &wire.ChangeUserRolesRequest{UserId: id, Roles: roles}, &out)
	return userFrom(out.GetUser()), out.GetWarnings(), err
}

// The permissions in a boundary: the roles read:BOUNDARY and write:BOUNDARY.
const (
	PermissionRead   = "READ"
	PermissionAppend = "APPEND"
)

// SetBoundaryPermissions replaces what another user than the caller may do in one boundary, and leaves the user's other
// roles. Without permissions it removes what the user has there.
func (c *Client) SetBoundaryPermissions(
	ctx context.Context, id, boundary string, permissions ...string,
) (changed User, warnings []string, err error) {
	var out wire.SetUserBoundaryPermissionsResponse
	err = c.call(ctx, admin+"SetUserBoundaryPermissions", repeat, &wire.SetUserBoundaryPermissionsRequest{
		UserId: id, Boundary: boundary, Permissions: permissions,
	}, &out)
	return userFrom(out.GetUser()), out.GetWarnings(), err
}

// Users returns all users.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var out wire.ListUsersResponse
	if err := c.call(ctx, admin+"ListUsers", repeat, &wire.ListUsersRequest{}, &out); err != nil {
		return nil, err
	}
	users := make([]User, len(out.GetUsers()))
	for i, user := range out.GetUsers() {
		users[i] = userFrom(user)
	}
	return users, nil
}

// UserCount counts the users.
func (c *Client) UserCount(ctx context.Context) (int64, error) {
	var out wire.GetUserCountResponse
	err := c.call(ctx, admin+"GetUserCount", repeat, &wire.GetUserCountRequest{}, &out)
	return out.GetCount(), err
}

// ValidateCredentials returns the user with these credentials; valid is false if they are wrong. A caller without the
// role admin can validate its own only.
func (c *Client) ValidateCredentials(
	ctx context.Context, username, password string,
) (user User, valid bool, err error) {
	var out wire.ValidateCredentialsResponse
	in := &wire.ValidateCredentialsRequest{Username: username, Password: password}
	err = c.call(ctx, admin+"ValidateCredentials", repeat, in, &out)
	return userFrom(out.GetUser()), out.GetSuccess(), err
}

func userFrom(u *wire.AdminUser) User {
	return User{
		ID: u.GetUserId(), Name: u.GetName(), Username: u.GetUsername(), Roles: u.GetRoles(),
		CreatedAt: u.GetCreatedAt().AsTime(), UpdatedAt: u.GetUpdatedAt().AsTime(),
	}
}
