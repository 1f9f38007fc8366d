package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/db/pgsession"
	"github.com/oexza/orisun/service/groupcommit"
)

// domain is the domain of every google.rpc.ErrorInfo of Orisun.
const domain = "orisun"

// The reasons that a google.rpc.ErrorInfo carries.
const (
	reasonContextChanged = "CONTEXT_CHANGED"
	reasonEventIDReused  = "EVENT_ID_REUSED"
	reasonBoundaryFailed = "BOUNDARY_FAILED"
	// reasonBoundaryMissing: PostgreSQL lacks the boundary's tables or functions.
	reasonBoundaryMissing = "BOUNDARY_TABLES_MISSING"
	// reasonBoundaryConfigured: this node's configuration names the boundary.
	reasonBoundaryConfigured = "BOUNDARY_CONFIGURED"
	// reasonSubscriptionReplaced: a later subscription on the same connection took the subscriber_name.
	reasonSubscriptionReplaced = "SUBSCRIPTION_REPLACED"
	// reasonSubscriptionReset: the subscription of a consumer was reset.
	reasonSubscriptionReset = "SUBSCRIPTION_RESET"
)

type detail = protoadapt.MessageV1

// sqlStates maps PostgreSQL's SQLSTATEs to gRPC codes: the first entry whose prefix fits. States of class OR are raised
// by the functions of schema orisun; the comment on that schema lists them. If safe is set, PostgreSQL's own text goes
// to the caller, because it contains nothing but the caller's data.
var sqlStates = []sqlState{
	{"OR001", codes.NotFound, true},           // unknown boundary
	{"OR002", codes.InvalidArgument, true},    // invalid name
	{"OR006", codes.AlreadyExists, true},      // the boundary has another definition
	{"OR009", codes.NotFound, true},           // unknown index
	{"OR010", codes.AlreadyExists, true},      // the index's name is taken
	{"OR011", codes.FailedPrecondition, true}, // an index is being made or dropped
	{"OR012", codes.FailedPrecondition, true}, // the boundary cannot be deleted
	{"OR020", codes.NotFound, true},           // unknown user
	{"OR021", codes.AlreadyExists, true},      // the username is taken
	{"OR022", codes.ResourceExhausted, true},  // the user has ended too many sessions
	{"42501", codes.FailedPrecondition, true}, // the server's role lacks a right, which the text names
	{"OR030", codes.PermissionDenied, true},   // a subscriber_name belongs to another user
	{"OR040", codes.NotFound, true},           // unknown subscription
	{"OR041", codes.AlreadyExists, true},      // the subscription has another definition
	{"OR042", codes.ResourceExhausted, true},  // the boundary has too many subscriptions
	{"OR043", codes.ResourceExhausted, true},  // the subscription has too many consumers
	{"OR044", codes.NotFound, true},           // an event is not parked
	{"2BP01", codes.FailedPrecondition, true}, // other objects depend on the boundary's tables
	{"22", codes.InvalidArgument, true},       // data exception: JSON, numbers, encodings
	{"23", codes.InvalidArgument, false},      // a constraint of the event table
	{"54", codes.InvalidArgument, true},       // program limit: nesting beyond the stack, an index entry too large
	{"57014", codes.DeadlineExceeded, true},   // statement timeout
	{"57", codes.Unavailable, false},          // shutdown, recovery, crash
	{"08", codes.Unavailable, false},          // connection exception
	{"53", codes.Unavailable, false},          // insufficient resources: connections, disk, memory
	{"25006", codes.Unavailable, false},       // read-only: a standby
	{"40", codes.Unavailable, false},          // serialization failure, deadlock
	{"55P03", codes.Unavailable, false},       // lock not available
}

type sqlState struct {
	prefix string
	code   codes.Code
	safe   bool
}

// transient returns whether a retry may succeed later.
func (s sqlState) transient() bool { return s.code == codes.Unavailable }

func findSQLState(code string) (sqlState, bool) {
	i := slices.IndexFunc(sqlStates, func(s sqlState) bool { return strings.HasPrefix(code, s.prefix) })
	if i < 0 {
		return sqlState{}, false
	}
	return sqlStates[i], true
}

// rightMissing is the SQLSTATE of an operation for which the role lacks a right.
const rightMissing = "42501"

// diskFull is the SQLSTATE of a full disk.
const diskFull = "53100"

// retryAfter is the delay that an UNAVAILABLE answer suggests before a retry.
const retryAfter = 500 * time.Millisecond

// toStatus maps the error of a query to the one that the caller gets.
func toStatus(ctx context.Context, err error) error {
	var pgError *pgconn.PgError
	var known interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.As(context.Cause(ctx), &known): // such as errDraining
		return context.Cause(ctx)
	case ctx.Err() != nil:
		return &statusError{status: status.FromContextError(context.Cause(ctx)), cause: err} // why the wait ended
	case errors.As(err, &known):
		return err
	case boundary.IsGone(err):
		return boundaryMissing(err)
	case errors.As(err, &pgError):
		if rule, found := findSQLState(pgError.Code); found {
			return fromSQLState(rule, pgError)
		}
		return internal(err)
	case errors.Is(err, groupcommit.ErrQueueFull):
		return retryLater(codes.ResourceExhausted, "too many saves wait in this boundary; try again", err)
	case errors.Is(err, groupcommit.ErrClosed):
		return retryLater(codes.Unavailable, "the server is shutting down; try again, with another node if there is one", err)
	case isDisconnected(err):
		return unavailable(err)
	default:
		return internal(err)
	}
}

// boundaryMissing is the answer to a call on a boundary whose schema or tables were dropped by hand.
func boundaryMissing(cause error) error {
	var refused *pgconn.PgError
	errors.As(cause, &refused)
	s, err := status.New(codes.NotFound, "PostgreSQL lacks what the boundary needs: "+refused.Message+
		"; restore it, create the boundary again (CreateBoundary), or delete it (DeleteBoundary)").
		WithDetails(&errdetails.ErrorInfo{Reason: reasonBoundaryMissing, Domain: domain})
	if err != nil {
		return internal(err)
	}
	return &statusError{status: s, cause: cause}
}

func fromSQLState(rule sqlState, cause *pgconn.PgError) error {
	switch {
	case cause.Code == diskFull:
		return retryLater(codes.Unavailable, "PostgreSQL's disk is full; try again when there is room", cause)
	case rule.transient():
		return unavailable(cause)
	case cause.Code == rightMissing:
		return &statusError{
			status: status.New(rule.code,
				"PostgreSQL refuses the server's role: "+cause.Message+"; docs/dba.md says what rights it needs"), cause: cause,
		}
	case rule.safe:
		return &statusError{status: status.New(rule.code, cause.Message), cause: cause}
	default:
		return &statusError{
			status: status.New(rule.code, "a constraint of the event table refuses the event: "+cause.ConstraintName),
			cause:  cause,
		}
	}
}

// IsTransient returns whether the same statement may succeed later: PostgreSQL was not reached, restarts, lacks room or
// connections, or ended the transaction in favour of another one. This is the only list of such errors.
func IsTransient(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		rule, found := findSQLState(refused.Code)
		return found && rule.transient()
	}
	return pgsession.IsInterrupted(err)
}

func hasState(err error, state string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == state
}

// IsRightMissing returns whether PostgreSQL refused a statement because the role lacks a right.
func IsRightMissing(err error) bool { return hasState(err, rightMissing) }

// isDisconnected returns whether there is no connection to PostgreSQL, for a temporary or a permanent reason.
func isDisconnected(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || pgsession.IsInterrupted(err)
}

func unavailable(cause error) error {
	return retryLater(codes.Unavailable, "PostgreSQL does not answer; try again", cause)
}

func retryLater(code codes.Code, message string, cause error) error {
	s, err := status.New(code, message).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	if err != nil {
		return internal(err)
	}
	return &statusError{status: s, cause: cause}
}

func internal(cause error) error {
	return &statusError{status: status.New(codes.Internal, "internal error; the server's log has the cause"), cause: cause}
}

// statusError has a status for the caller, and a cause that the caller must not see.
type statusError struct {
	status *status.Status
	cause  error
}

func (e *statusError) Error() string { return e.status.Message() }

// GRPCStatus is what the caller gets.
func (e *statusError) GRPCStatus() *status.Status { return e.status }

// Unwrap is the cause, for the log.
func (e *statusError) Unwrap() error { return e.cause }
