package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The kinds of errors, for errors.Is. Each error of a call is an [*Error]; a conflict is a [*ConflictError], too.
var (
	// ErrConflict: an event that matches the condition of the save came after the expected position. Nothing is stored.
	// [Decide] reads, folds and decides again by itself.
	ErrConflict = errors.New("the context changed")
	// ErrEventIDReused: an event id of the save belongs to another event. Nothing is stored.
	ErrEventIDReused = errors.New("an event id is reused")
	// ErrInvalid: a field of the request is wrong; [Error.Fields] names each.
	ErrInvalid = errors.New("the request is invalid")
	// ErrNotFound: the boundary, index, user or durable subscription is unknown.
	ErrNotFound = errors.New("not found")
	// ErrAlreadyExists: the index, boundary, durable subscription or username exists with another definition.
	ErrAlreadyExists = errors.New("already exists")
	// ErrRefused: the state of the server does not allow the call; the message says why.
	ErrRefused = errors.New("refused in this state")
	// ErrUnauthenticated: the credentials are wrong, or the user is deleted.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrPermissionDenied: the user lacks a right, which the message names.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrExhausted: a limit of the server; retries did not help within the deadline, or the answer is too large.
	ErrExhausted = errors.New("a limit is exhausted")
	// ErrUnavailable: no node served the call within the deadline. Whether a save was stored is unknown: the same
	// save with the same event ids can be retried. Set [NewEvent.ID] where the program does so.
	ErrUnavailable = errors.New("unavailable")
	// ErrInternal: a fault of the server, whose log has the cause.
	ErrInternal = errors.New("internal error")
	// ErrReplaced: a later subscription with the same name ([As]) began on this client's connection and ended this one.
	ErrReplaced = errors.New("the subscription is replaced")
	// ErrTooManyConflicts: [Decide] reached its limit of attempts.
	ErrTooManyConflicts = errors.New("too many conflicts")
)

// Error is an error of a call, as the server's details describe it.
type Error struct {
	Method  string
	Code    codes.Code
	Message string
	// Reason is that of google.rpc.ErrorInfo, such as EVENT_ID_REUSED, and Metadata what comes with it.
	Reason   string
	Metadata map[string]string
	// Fields are the paths of the request's fields that are wrong.
	Fields []Field
	// RetryAfter is what the server suggests to wait; 0 where it suggests nothing.
	RetryAfter time.Duration

	status *status.Status
	ended  error // the context's error, where that ended the retries
}

// Field is a field of a request that is wrong.
type Field struct{ Path, Problem string }

func newError(method string, err error) *Error {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	e := &Error{Method: method[strings.LastIndexByte(method, '/')+1:], Code: s.Code(), Message: s.Message(), status: s}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			e.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{violation.GetField(), violation.GetDescription()})
			}
		}
	}
	switch e.Code {
	case codes.Canceled:
		e.ended = context.Canceled
	case codes.DeadlineExceeded:
		e.ended = context.DeadlineExceeded
	}
	return e
}

// callError is the error of a call with a request. One that gRPC cannot encode is no fault of the server.
func callError(method string, in proto.Message, err error) *Error {
	e := newError(method, err)
	if e.Code == codes.Internal {
		if _, err := proto.Marshal(in); err != nil {
			e.Code, e.Message = codes.InvalidArgument, "a text of the request is not UTF-8"
			e.status = status.New(e.Code, e.Message)
		}
	}
	return e
}

func (e *Error) Error() string {
	text := fmt.Sprintf("orisun: %s: %s: %s", e.Method, e.Code, e.Message)
	for _, field := range e.Fields {
		if !strings.Contains(e.Message, field.Path+": "+field.Problem) {
			text += "; " + field.Path + ": " + field.Problem
		}
	}
	if e.ended != nil && e.Code != codes.DeadlineExceeded && e.Code != codes.Canceled {
		text += " (retried until: " + e.ended.Error() + ")"
	}
	return text
}

// Is reports whether the error is one of the Err variables.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrConflict:
		return e.Code == codes.AlreadyExists && e.isConflict()
	case ErrAlreadyExists:
		return e.Code == codes.AlreadyExists && !e.isConflict()
	case ErrEventIDReused:
		return e.Reason == "EVENT_ID_REUSED"
	case ErrReplaced:
		return e.Reason == "SUBSCRIPTION_REPLACED"
	case ErrInvalid:
		return e.Code == codes.InvalidArgument
	case ErrNotFound:
		return e.Code == codes.NotFound
	case ErrRefused:
		return e.Code == codes.FailedPrecondition
	case ErrUnauthenticated:
		return e.Code == codes.Unauthenticated
	case ErrPermissionDenied:
		return e.Code == codes.PermissionDenied
	case ErrExhausted:
		return e.Code == codes.ResourceExhausted
	case ErrInternal:
		return e.Code == codes.Internal
	case ErrUnavailable:
		return e.Code == codes.Unavailable
	}
	return false
}

// Unwrap is the context's error where that ended the call.
func (e *Error) Unwrap() error { return e.ended }

// GRPCStatus is the status as it came.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// isConflict holds for servers that send no details, too: a save has no other ALREADY_EXISTS.
func (e *Error) isConflict() bool {
	return e.Reason == "CONTEXT_CHANGED" || e.Reason == "" && e.Method == "SaveEvents"
}

// heals says whether the same request may succeed later. What is exhausted without a RetryInfo stays so.
func (e *Error) heals() bool {
	switch e.Code {
	case codes.Unavailable:
		return true
	case codes.ResourceExhausted:
		return e.RetryAfter > 0
	case codes.Aborted:
		return e.Reason == "SUBSCRIPTION_RESET"
	case codes.DeadlineExceeded:
		return e.Method == "SaveEvents" // a statement's time limit: only another attempt finds out what became of the save
	default:
		return false
	}
}

// pause is how long to wait before the next attempt, with jitter, so that clients do not come back in step.
func (e *Error) pause(attempt int) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter + rand.N(e.RetryAfter/2+1) //nolint:gosec // jitter is no secret
	}
	return jittered(attempt, firstPause, maxPause)
}

// known is the error for the caller.
func (e *Error) known() error {
	if e.Code == codes.AlreadyExists && e.isConflict() {
		return newConflict(e)
	}
	return e
}

// ConflictError says what changed the context of a save.
type ConflictError struct {
	// Expected is the position that the save expected, Actual that of the latest event of the context after it, or
	// {-1,-1} where Expected is the position of no stored event.
	Expected, Actual Position
	// EventID and EventType are those of the event at Actual; "" where the server does not say.
	EventID, EventType string
	err                *Error
}

func newConflict(e *Error) *ConflictError {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(e.Metadata[key], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	return &ConflictError{
		Expected:  Position{number("expected_transaction_id"), number("expected_global_id")},
		Actual:    Position{number("actual_transaction_id"), number("actual_global_id")},
		EventID:   e.Metadata["event_id"],
		EventType: e.Metadata["event_type"],
		err:       e,
	}
}

func (e *ConflictError) Error() string { return e.err.Error() }

// Unwrap is the [*Error].
func (e *ConflictError) Unwrap() error { return e.err }
