package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/nearest"
)

// stateContextChanged is the SQLSTATE of a change of a user that another change overtook.
const stateContextChanged = "OR003"

// changeUser runs a change of users, retries it if another one overtook it, and publishes its event. Its errors are for
// the caller.
func (a *Admin) changeUser(ctx context.Context, change func(context.Context) error) error {
	err := change(ctx)
	for attempt := 1; attempt < maxOvertaken && hasState(err, stateContextChanged); attempt++ {
		err = change(ctx)
	}
	_, isStatus := status.FromError(err)
	switch {
	case err == nil:
		if a.store.config.Saved != nil {
			a.store.config.Saved(a.boundary)
		}
		return nil
	case isStatus:
		return err
	case hasState(err, stateContextChanged):
		return retryLater(codes.Unavailable, "the user is being changed by others; try again", err)
	default:
		return toStatus(ctx, err)
	}
}

// actor is the metadata of an event about a user: the caller that caused it.
func actor(ctx context.Context) string {
	caller, _ := auth.FromContext(ctx)
	metadata, err := json.Marshal(map[string]string{"actor": caller.Username, "actor_id": caller.UserID})
	if err != nil {
		// A map of strings always marshals.
		return "{}"
	}
	return string(metadata)
}

func toAdminUser(user db.OrisunUserAccount) *orisunpb.AdminUser {
	return &orisunpb.AdminUser{
		UserId: user.UserID, Name: user.Name, Username: user.Username, Roles: user.Roles,
		CreatedAt: timestamppb.New(user.CreatedAt), UpdatedAt: timestamppb.New(user.UpdatedAt),
		BoundaryPermissions: permissionsOf(user.Roles),
	}
}

// unknownBoundaries warns of roles in boundaries that do not exist. They are allowed, since the boundary may be created
// later.
func (a *Admin) unknownBoundaries(ctx context.Context, user *orisunpb.AdminUser) (warnings []string) {
	var known []string
	for _, role := range user.GetRoles() {
		_, boundary, scoped := strings.Cut(role, ":")
		if !scoped {
			continue
		}
		if known == nil {
			rows, err := a.store.queries.ListBoundaries(ctx, a.store.config.Read)
			if err != nil {
				a.store.config.Log.Warn("whether the boundaries of a user's roles exist is not known", "user", user.GetUsername(),
					"error", err)
				return nil
			}
			for _, row := range rows {
				known = append(known, row.Name)
			}
		}
		if slices.Contains(known, boundary) {
			continue
		}
		warning := fmt.Sprintf("the role %q grants nothing yet: there is no boundary %q", role, boundary)
		if near, found := nearest.Name(boundary, known); found {
			warning += fmt.Sprintf("; did you mean %q?", near)
		}
		warnings = append(warnings, warning)
		a.store.config.Log.Warn("a role is for a boundary that does not exist", "user", user.GetUsername(), "role", role)
	}
	return warnings
}

// username checks a username, which Basic authentication has to carry.
func (v *violations) username(field, name string) {
	v.text(field, name, 1, maxNameBytes)
	switch {
	case name == "":
	case utf8.RuneCountInString(name) < minUsername:
		v.add(field, "is %q, at least %d characters are needed", name, minUsername)
	case strings.Contains(name, ":"):
		v.add(field, "is %q: a colon ends a username in Basic authentication", name)
	case strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name:
		v.add(field, "is %q: it must not hold control characters, or begin or end with a space", name)
	}
}

// password checks a new password. Its messages do not contain the password.
func (v *violations) password(field, password string) {
	switch n := len(password); {
	case n == 0:
		v.add(field, "is required")
	case n < minPassword || n > auth.MaxPassword:
		v.add(field, "has %d bytes, %d to %d are allowed", n, minPassword, auth.MaxPassword)
	}
}

// roles checks roles and returns them in stored form, each once.
func (v *violations) roles(field string, roles []string) (parsedRoles []string) {
	if n := len(roles); n < 1 || n > maxRoles {
		v.add(field, "has %d roles, a user has 1 to %d", n, maxRoles)
		return nil
	}
	for i, role := range roles {
		parsed, err := auth.ParseRole(role)
		if err != nil {
			v.add(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		} else if !slices.Contains(parsedRoles, parsed) {
			parsedRoles = append(parsedRoles, parsed)
		}
	}
	return parsedRoles
}
