package auth

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// Right is what an RPC needs. Read, Write, Index and Manage are granted for a boundary. Inspect is granted for a
// boundary or, if a request names none, for the server.
type Right string

// The rights, as errors name them.
const (
	Anyone     Right = "be authenticated"
	Read       Right = "read events"
	Write      Right = "save events"
	Index      Right = "create and drop indexes"
	Manage     Right = "manage subscriptions"
	Inspect    Right = "inspect boundaries, counts and indexes"
	Administer Right = "administer users and boundaries"
)

// rights has a row for every RPC of Orisun: an RPC without one is refused. boundaryOf finds the RPC's boundary.
var rights = map[string]Right{
	"/orisun.EventStore/Ping":                     Anyone,
	"/orisun.EventStore/GetServerInfo":            Anyone,
	"/orisun.EventStore/SaveEvents":               Write,
	"/orisun.EventStore/GetEvents":                Read,
	"/orisun.EventStore/GetLatestByCriteria":      Read,
	"/orisun.EventStore/CatchUpSubscribeToEvents": Read,
	"/orisun.EventStore/Explain":                  Read,
	"/orisun.EventStore/CreateIndex":              Index,
	"/orisun.EventStore/DropIndex":                Index,
	"/orisun.EventStore/ListIndexes":              Inspect,
	"/orisun.EventStore/GetIndex":                 Inspect,

	"/orisun.Subscriptions/CreateSubscription": Manage,
	"/orisun.Subscriptions/DeleteSubscription": Manage,
	"/orisun.Subscriptions/ResetSubscription":  Manage,
	"/orisun.Subscriptions/ReplayParked":       Manage,
	"/orisun.Subscriptions/SkipParked":         Manage,
	"/orisun.Subscriptions/ListSubscriptions":  Read,
	"/orisun.Subscriptions/GetSubscription":    Read,
	"/orisun.Subscriptions/Consume":            Read,
	"/orisun.Subscriptions/ReadSubscription":   Read,
	"/orisun.Subscriptions/Settle":             Read,
	"/orisun.Subscriptions/ListParked":         Read,
	"/orisun.Subscriptions/WaitForCheckpoint":  Read,

	"/orisun.Admin/CreateIndex":     Index,
	"/orisun.Admin/DropIndex":       Index,
	"/orisun.Admin/CreateBoundary":  Administer,
	"/orisun.Admin/DeleteBoundary":  Administer,
	"/orisun.Admin/ListBoundaries":  Inspect,
	"/orisun.Admin/GetBoundary":     Inspect,
	"/orisun.Admin/GetEventCount":   Inspect,
	"/orisun.Admin/GetUserCount":    Inspect,
	"/orisun.Admin/ListConflicts":   Read, // contexts contain values of events
	"/orisun.Admin/ListNodes":       Inspect,
	"/orisun.Admin/ListSubscribers": Read, // as Subscriptions/ListSubscriptions with its consumers
	"/orisun.Admin/ListUsers":       Administer,
	"/orisun.Admin/CreateUser":      Administer,
	"/orisun.Admin/DeleteUser":      Administer,
	"/orisun.Admin/ChangeUserRoles": Administer,
	"/orisun.Admin/SetUserPassword": Administer,
	"/orisun.Admin/EndUserSessions": Administer,
	// The roles of a user in one boundary.
	"/orisun.Admin/SetUserBoundaryPermissions": Administer,
	"/orisun.Admin/ValidateCredentials":        Anyone, // their own only, unless they are admins: OwnOrAdmin
	"/orisun.Admin/ChangePassword":             Anyone, // their own only: Own
}

// RightOf returns the right that an RPC needs, such as "/orisun.EventStore/Ping", and whether there is such an RPC.
func RightOf(method string) (right Right, found bool) {
	right, found = rights[method]
	return right, found
}

// RolesWith lists the roles that hold a right in a boundary which is not the admin's, called BOUNDARY.
func RolesWith(right Right) []string { return holders(right, "BOUNDARY", "") }

// boundaryOf is the boundary that a request names; "" if it names none.
func boundaryOf(request any) string {
	switch request := request.(type) {
	case *orisunpb.ConsumeRequest:
		return request.GetStart().GetBoundary()
	case *orisunpb.ExplainRequest:
		return request.GetGetEvents().GetBoundary()
	case *orisunpb.GetBoundaryRequest:
		return request.GetName()
	case interface{ GetBoundary() string }:
		return request.GetBoundary()
	default:
		return ""
	}
}

// authorize returns nil if the caller may make this call, else PERMISSION_DENIED with the missing right.
func (a *Authenticator) authorize(caller Identity, method string, request any) error {
	right, found := rights[method]
	if !found {
		return status.Errorf(codes.PermissionDenied, "no role has the right to call %s", method)
	}
	return a.May(caller, right, boundaryOf(request))
}

// May returns nil if the caller has a right in a boundary, or of the server if boundary is empty. Otherwise it returns
// PERMISSION_DENIED with the missing right.
func (a *Authenticator) May(caller Identity, right Right, boundary string) error {
	if caller.grants.allow(right, boundary, a.adminBoundary) {
		return nil
	}
	return a.denied(caller, right, boundary)
}

func (a *Authenticator) denied(caller Identity, right Right, boundary string) error {
	where := ""
	details := &errdetails.ErrorInfo{
		Reason: "RIGHT_MISSING", Domain: "orisun", Metadata: map[string]string{"right": string(right)},
	}
	if boundary != "" {
		where = fmt.Sprintf(" in boundary %q", boundary)
		details.Metadata["boundary"] = boundary
	}
	var way string
	switch roles := holders(right, boundary, a.adminBoundary); len(roles) {
	case 0:
		way = "no role has it: its events are saved by the RPCs about users and boundaries"
	case 1:
		way = "role " + roles[0] + " has it"
	default:
		way = "these roles have it: " + strings.Join(roles, ", ")
	}
	s := status.New(codes.PermissionDenied,
		fmt.Sprintf("user %q has no right to %s%s; %s", caller.Username, right, where, way))
	if detailed, err := s.WithDetails(details); err == nil {
		s = detailed
	}
	return s.Err()
}

// Own returns the caller if it is the user with this id, else PERMISSION_DENIED.
func Own(ctx context.Context, userID string) (Identity, error) {
	caller, ok := FromContext(ctx)
	if !ok || caller.UserID != userID {
		return Identity{}, status.Error(codes.PermissionDenied,
			"users change their own password only; an admin sets that of another user with SetUserPassword")
	}
	return caller, nil
}

// OwnOrAdmin returns nil if the caller has this username or is an admin, else PERMISSION_DENIED.
func OwnOrAdmin(ctx context.Context, username string) error {
	caller, ok := FromContext(ctx)
	if !ok || caller.Username != username && !caller.grants.admin {
		return status.Error(codes.PermissionDenied, "users validate their own credentials only; role admin validates all")
	}
	return nil
}
