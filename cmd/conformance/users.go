package main

import (
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

const userPassword = "conformance-1"

// createUser creates a user and returns what deletes it again.
func (t *trial) createUser(change func(*orisunpb.CreateUserRequest)) (user *orisunpb.AdminUser, remove func()) {
	in := &orisunpb.CreateUserRequest{
		Name: "A check", Username: "conf" + unique()[:12], Password: userPassword, Roles: []string{"user"},
	}
	if change != nil {
		change(in)
	}
	answer, err := t.admin.CreateUser(t.ctx, in)
	t.must("CreateUser", err)
	user = answer.GetUser()
	if user.GetUserId() == "" || user.GetUsername() != in.GetUsername() || user.GetName() != in.GetName() {
		t.errorf("CreateUser returns %v for %v", user, in)
	}
	return user, func() {
		deleted, err := t.admin.DeleteUser(t.ctx, &orisunpb.DeleteUserRequest{UserId: user.GetUserId()})
		if err != nil || !deleted.GetSuccess() {
			t.errorf("DeleteUser: %v, %v", deleted, err)
		}
	}
}

func (t *trial) valid(username, password string) bool {
	answer, err := t.admin.ValidateCredentials(
		t.ctx, &orisunpb.ValidateCredentialsRequest{Username: username, Password: password})
	t.must("ValidateCredentials", err)
	if answer.GetSuccess() && answer.GetUser().GetUsername() != username {
		t.errorf("ValidateCredentials returns %v for %s", answer.GetUser(), username)
	}
	return answer.GetSuccess()
}

// wantRights are the roles in the kit's boundary, such as "read write", and the permissions that say the same.
func (t *trial) wantRights(user *orisunpb.AdminUser, wantRoles, wantPermissions string) {
	var roles, permissions []string
	for _, role := range user.GetRoles() {
		if right, boundary, _ := strings.Cut(role, ":"); boundary == t.boundary {
			roles = append(roles, right)
		}
	}
	for _, grant := range user.GetBoundaryPermissions() {
		if grant.GetBoundary() == t.boundary {
			permissions = append(permissions, grant.GetPermissions()...)
		}
	}
	slices.Sort(roles)
	slices.Sort(permissions)
	if strings.Join(roles, " ") != wantRoles || strings.Join(permissions, " ") != wantPermissions {
		t.errorf("the roles are %v, the permissions %v; want %s and %s", roles, permissions, wantRoles, wantPermissions)
	}
}

func users() []check {
	// Field 5 alone: newer clients send no role.
	granted := func(t *trial, permissions ...string) (user *orisunpb.AdminUser, remove func()) {
		return t.createUser(func(in *orisunpb.CreateUserRequest) {
			in.Roles = nil
			in.BoundaryPermissions = []*orisunpb.BoundaryPermissionGrant{{Boundary: t.boundary, Permissions: permissions}}
		})
	}
	return []check{
		{"created, listed, counted, deleted", func(t *trial) {
			count := func() int64 {
				answer, err := t.admin.GetUserCount(t.ctx, &orisunpb.GetUserCountRequest{})
				t.must("GetUserCount", err)
				return answer.GetCount()
			}
			listed := func(id string) bool {
				list, err := t.admin.ListUsers(t.ctx, &orisunpb.ListUsersRequest{})
				t.must("ListUsers", err)
				return slices.ContainsFunc(list.GetUsers(), func(u *orisunpb.AdminUser) bool { return u.GetUserId() == id })
			}
			before := count()
			user, remove := t.createUser(nil)
			if !listed(user.GetUserId()) || count() != before+1 || user.GetCreatedAt() == nil {
				t.errorf("%v is not listed, not counted, or of no time", user)
			}
			remove()
			if listed(user.GetUserId()) || t.valid(user.GetUsername(), userPassword) {
				t.errorf("a deleted user is listed, or can log in")
			}
		}},
		{"credentials are valid or not", func(t *trial) {
			user, remove := t.createUser(nil)
			defer remove()
			if !t.valid(user.GetUsername(), userPassword) || t.valid(user.GetUsername(), "another-one-1") {
				t.errorf("ValidateCredentials does not say which password is right")
			}
		}},
		{"a username that exists is ALREADY_EXISTS", func(t *trial) {
			user, remove := t.createUser(nil)
			defer remove()
			_, err := t.admin.CreateUser(t.ctx, &orisunpb.CreateUserRequest{
				Name: "Another", Username: user.GetUsername(), Password: userPassword, Roles: []string{"user"},
			})
			t.wantCode("CreateUser", err, codes.AlreadyExists)
		}},
		{"a user changes the password", func(t *trial) {
			user, remove := t.createUser(nil)
			defer remove()
			conn := t.connect(grpc.WithPerRPCCredentials(basic(user.GetUsername() + ":" + userPassword)))
			defer conn.Close() //nolint:errcheck // a connection for one check
			changed, err := orisunpb.NewAdminClient(conn).ChangePassword(t.ctx, &orisunpb.ChangePasswordRequest{
				UserId: user.GetUserId(), CurrentPassword: userPassword, NewPassword: "conformance-2",
			})
			if err != nil || !changed.GetSuccess() {
				t.errorf("ChangePassword: %v, %v", changed, err)
			}
			if t.valid(user.GetUsername(), userPassword) || !t.valid(user.GetUsername(), "conformance-2") {
				t.errorf("the old password is valid, or the new one is not")
			}
		}},
		{"boundary_permissions (5) become roles", func(t *trial) {
			user, remove := granted(t, "READ", "APPEND")
			defer remove()
			t.wantRights(user, "read write", "APPEND READ")
		}},
		{"roles of a boundary are boundary_permissions (7)", func(t *trial) {
			user, remove := t.createUser(func(in *orisunpb.CreateUserRequest) { in.Roles = []string{"read:" + t.boundary} })
			defer remove()
			t.wantRights(user, "read", "READ")
		}},
		{"SetUserBoundaryPermissions replaces and removes", func(t *trial) {
			user, remove := t.createUser(nil)
			defer remove()
			for _, step := range []struct{ permission, role string }{{"READ", "read"}, {"APPEND", "write"}, {}} {
				in := &orisunpb.SetUserBoundaryPermissionsRequest{UserId: user.GetUserId(), Boundary: t.boundary}
				if step.permission != "" {
					in.Permissions = []string{step.permission}
				}
				answer, err := t.admin.SetUserBoundaryPermissions(t.ctx, in)
				t.must("SetUserBoundaryPermissions", err)
				t.wantRights(answer.GetUser(), step.role, step.permission)
				if !slices.Contains(answer.GetUser().GetRoles(), "user") {
					t.errorf("the other roles are gone: %v", answer.GetUser().GetRoles())
				}
			}
		}},
		{"READ reads and does not save", func(t *trial) {
			user, remove := granted(t, "READ")
			defer remove()
			conn := t.connect(grpc.WithPerRPCCredentials(basic(user.GetUsername() + ":" + userPassword)))
			defer conn.Close() //nolint:errcheck // a connection for one check
			store := orisunpb.NewEventStoreClient(conn)
			_, err := store.GetEvents(t.ctx, &orisunpb.GetEventsRequest{Boundary: t.boundary, Count: 1})
			t.wantCode("GetEvents", err, codes.OK)
			_, err = store.SaveEvents(t.ctx, &orisunpb.SaveEventsRequest{
				Boundary: t.boundary, Events: []*orisunpb.EventToSave{event(unique())},
			})
			t.wantCode("SaveEvents", err, codes.PermissionDenied)
		}},
	}
}
