package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// domain is that of every google.rpc.ErrorInfo of ours.
const domain = "orisun"

// The reasons that a google.rpc.ErrorInfo carries.
const (
	reasonContextChanged = "CONTEXT_CHANGED"
	reasonEventIDReused  = "EVENT_ID_REUSED"
)

type detail = protoadapt.MessageV1

// sqlStates maps what PostgreSQL answers to what gRPC does: the first entry whose prefix fits. States of class OR are
// raised by the functions of schema orisun; the comment on that schema lists them. Where safe is set, PostgreSQL's own
// text goes to the caller, because it speaks of the caller's data and of nothing else.
var sqlStates = []struct {
	prefix string
	code   codes.Code
	safe   bool
}{
	{"OR001", codes.NotFound, true},         // unknown boundary
	{"OR002", codes.InvalidArgument, true},  // invalid name
	{"OR006", codes.AlreadyExists, true},    // the boundary is elsewhere
	{"22", codes.InvalidArgument, true},     // data exception: JSON, numbers, encodings
	{"23", codes.InvalidArgument, false},    // a constraint of the event table
	{"54", codes.InvalidArgument, true},     // program limit: nesting beyond the stack, an index entry too large
	{"57014", codes.DeadlineExceeded, true}, // statement timeout
	{"57", codes.Unavailable, false},        // shutdown, recovery, crash
	{"08", codes.Unavailable, false},        // connection exception
	{"53", codes.Unavailable, false},        // insufficient resources: connections, disk, memory
	{"25006", codes.Unavailable, false},     // read-only: a standby
	{"40", codes.Unavailable, false},        // serialization failure, deadlock
	{"55P03", codes.Unavailable, false},     // lock not available
}

// retryAfter is what an UNAVAILABLE answer suggests to wait.
const retryAfter = 500 * time.Millisecond

// toStatus turns the error of a query into the one that the caller sees.
func toStatus(ctx context.Context, err error) error {
	var pgError *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return status.FromContextError(context.Cause(ctx)).Err()
	case errors.As(err, &pgError):
		for _, s := range sqlStates {
			if len(pgError.Code) >= len(s.prefix) && pgError.Code[:len(s.prefix)] == s.prefix {
				return fromSQLState(s.code, s.safe, pgError)
			}
		}
		return internal(err)
	case isDisconnected(err):
		return unavailable(err)
	default:
		return internal(err)
	}
}

func fromSQLState(code codes.Code, safe bool, cause *pgconn.PgError) error {
	if code == codes.Unavailable {
		return unavailable(cause)
	}
	if !safe {
		return &statusError{status: status.New(code, "PostgreSQL refuses the event: "+cause.ConstraintName), cause: cause}
	}
	return &statusError{status: status.New(code, cause.Message), cause: cause}
}

// isDisconnected tells that PostgreSQL could not be reached, or that the connection ended under way.
func isDisconnected(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

func unavailable(cause error) error {
	s, err := status.New(codes.Unavailable, "PostgreSQL does not answer; try again").
		WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	if err != nil {
		return internal(err)
	}
	return &statusError{status: s, cause: cause}
}

func internal(cause error) error {
	return &statusError{status: status.New(codes.Internal, "internal error; the server's log has the cause"), cause: cause}
}

// statusError answers with a status and keeps what the caller must not see.
type statusError struct {
	status *status.Status
	cause  error
}

func (e *statusError) Error() string { return e.status.Message() }

// GRPCStatus is what the caller sees.
func (e *statusError) GRPCStatus() *status.Status { return e.status }

// Unwrap is the cause, for the log.
func (e *statusError) Unwrap() error { return e.cause }

// errMissingRow says that a function that always answers a row did not.
var errMissingRow = fmt.Errorf("a function of schema orisun answered no row: %w", pgx.ErrNoRows)
