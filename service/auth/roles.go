package auth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The roles without a boundary. RoleAdmin has every right. RoleOperations inspects and reads every boundary, and saves
// in every one but the admin's. RoleUser saves and reads every boundary but the admin's.
const (
	RoleAdmin      = "admin"
	RoleOperations = "operations"
	RoleUser       = "user"
)

// The roles in one boundary, before a colon and its name. They grant nothing in the admin boundary.
const (
	scopeRead  = "read"
	scopeWrite = "write"
	scopeAdmin = "admin" // its indexes and subscriptions
)

// maxBoundary is the longest name of a boundary in bytes.
const maxBoundary = 26

var boundaryName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// ParseRole returns a role as it is stored. It is in lower case, except for the name of a boundary, since "Orders" and
// "orders" are two. The boundary need not exist yet. The error lists the roles that there are.
func ParseRole(role string) (string, error) {
	scope, boundary, scoped := strings.Cut(role, ":")
	scope = strings.ToLower(scope)
	switch {
	case scoped && slices.Contains([]string{scopeRead, scopeWrite, scopeAdmin}, scope):
		if len(boundary) > maxBoundary || !boundaryName.MatchString(boundary) {
			return "", fmt.Errorf("is %q: %q is no name of a boundary", role, boundary)
		}
		return scope + ":" + boundary, nil
	case !scoped && slices.Contains([]string{RoleAdmin, RoleOperations, RoleUser}, scope):
		return scope, nil
	}
	return "", fmt.Errorf("is %q: roles are admin, operations, user, and in one boundary read:BOUNDARY, write:BOUNDARY "+
		"and admin:BOUNDARY", role)
}

// grants are the rights of a set of roles.
type grants struct {
	admin, operations, user bool
	scoped                  map[string]scopes // by boundary
}

type scopes struct{ read, write, index bool }

// grantsOf reads roles as ParseRole writes them. Other roles, which only psql could have saved, grant nothing.
func grantsOf(roles []string) grants {
	var g grants
	for _, role := range roles {
		scope, boundary, scoped := strings.Cut(role, ":")
		switch {
		case !scoped:
			g.admin = g.admin || scope == RoleAdmin
			g.operations = g.operations || scope == RoleOperations
			g.user = g.user || scope == RoleUser
		case boundary != "":
			if g.scoped == nil {
				g.scoped = map[string]scopes{}
			}
			s := g.scoped[boundary]
			s.read = s.read || scope == scopeRead
			s.write = s.write || scope == scopeWrite
			s.index = s.index || scope == scopeAdmin
			g.scoped[boundary] = s
		}
	}
	return g
}

// allow returns whether the grants hold a right in a boundary.
func (g grants) allow(right Right, boundary, adminBoundary string) bool {
	isAdmins := boundary == adminBoundary
	scoped := g.scoped[boundary]
	switch right {
	case Anyone:
		return true
	case Read:
		return g.admin || g.operations || !isAdmins && (g.user || scoped.read)
	case Write:
		return !isAdmins && (g.admin || g.operations || g.user || scoped.write)
	case Index, Manage:
		return g.admin || !isAdmins && scoped.index
	case Inspect:
		return g.admin || g.operations || !isAdmins && scoped.index
	case Administer:
		return g.admin
	}
	return false
}

// holders lists the roles that hold a right in a boundary, or of the server if boundary is empty, for messages.
func holders(right Right, boundary, adminBoundary string) (roles []string) {
	candidates := []string{RoleAdmin, RoleOperations, RoleUser}
	if boundary != "" {
		candidates = append(candidates, scopeRead+":"+boundary, scopeWrite+":"+boundary, scopeAdmin+":"+boundary)
	}
	for _, role := range candidates {
		if grantsOf([]string{role}).allow(right, boundary, adminBoundary) {
			roles = append(roles, role)
		}
	}
	return roles
}
