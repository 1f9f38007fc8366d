package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// The permissions in a boundary, as some clients name them, and the scopes of the corresponding roles.
var permissionScopes = map[string]string{"READ": "read", "APPEND": "write"}

// SetUserBoundaryPermissions replaces the permissions of a user other than the caller in one boundary. The user's other
// roles stay. When it returns, the change is in force on every node, and the user's earlier tokens are void.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown user, FAILED_PRECONDITION for one's own account,
// UNAVAILABLE.
func (a *Admin) SetUserBoundaryPermissions(
	ctx context.Context, in *orisunpb.SetUserBoundaryPermissionsRequest,
) (*orisunpb.SetUserBoundaryPermissionsResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	v.grantedBoundary("boundary", in.GetBoundary())
	roles := v.permissions("permissions", in.GetBoundary(), in.GetPermissions())
	if err := v.err(); err != nil {
		return nil, err
	}
	user, warnings, err := a.changeRoles(ctx, in.GetUserId(), func(ctx context.Context) (db.OrisunUserAccount, error) {
		return a.store.queries.SetUserBoundaryPermissions(ctx, a.store.config.Write, db.SetUserBoundaryPermissionsParams{
			Boundary: a.boundary, UserID: in.GetUserId(), InBoundary: in.GetBoundary(), Roles: roles, Metadata: actor(ctx),
		})
	})
	if err != nil {
		return nil, err
	}
	return &orisunpb.SetUserBoundaryPermissionsResponse{User: user, Warnings: warnings}, nil
}

// permissionsOf are the roles in single boundaries as permissions.
func permissionsOf(roles []string) (grants []*orisunpb.BoundaryPermissionGrant) {
	for _, role := range roles {
		scope, boundary, scoped := strings.Cut(role, ":")
		for permission, of := range permissionScopes {
			if !scoped || scope != of {
				continue
			}
			i := slices.IndexFunc(grants, func(g *orisunpb.BoundaryPermissionGrant) bool { return g.GetBoundary() == boundary })
			if i < 0 {
				i, grants = len(grants), append(grants, &orisunpb.BoundaryPermissionGrant{Boundary: boundary})
			}
			grants[i].Permissions = append(grants[i].Permissions, permission)
		}
	}
	return grants
}

// permissions checks permissions in a boundary and returns them as roles, each once.
func (v *violations) permissions(field, boundary string, permissions []string) (roles []string) {
	roles = []string{} // pgx sends nil as NULL
	for i, permission := range permissions {
		scope, known := permissionScopes[strings.ToUpper(permission)]
		if !known {
			v.add(fmt.Sprintf("%s[%d]", field, i), "is %q: permissions are READ and APPEND", permission)
			continue
		}
		role, err := auth.ParseRole(scope + ":" + boundary)
		if err != nil {
			continue // grantedBoundary reports it
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles
}

// grantedBoundary checks the name of a boundary that need not exist.
func (v *violations) grantedBoundary(field, name string) {
	if _, err := auth.ParseRole("read:" + name); err != nil {
		v.add(field, "is %q: that is no name of a boundary", name)
	}
}

// grants checks permissions in several boundaries and returns them as roles.
func (v *violations) grants(field string, grants []*orisunpb.BoundaryPermissionGrant) (roles []string) {
	for i, grant := range grants {
		path := fmt.Sprintf("%s[%d]", field, i)
		v.grantedBoundary(path+".boundary", grant.GetBoundary())
		roles = append(roles, v.permissions(path+".permissions", grant.GetBoundary(), grant.GetPermissions())...)
	}
	return roles
}
