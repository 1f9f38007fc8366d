package service

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAFullDiskIsReportedToTheCaller, and not that PostgreSQL is away, which would be looked for elsewhere.
func TestAFullDiskIsReportedToTheCaller(t *testing.T) {
	full := &pgconn.PgError{
		Severity: "ERROR", Code: "53100", Message: `could not extend file "base/1/2": No space left on device`,
	}
	detail := status.Convert(toStatus(t.Context(), full))
	if detail.Code() != codes.Unavailable ||
		detail.Message() != "PostgreSQL's disk is full; try again when there is room" {
		t.Errorf("%s: %s", detail.Code(), detail.Message())
	}
	if details := detail.Details(); len(details) != 1 ||
		details[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration() != retryAfter {
		t.Errorf("details: %v", details)
	}
	if !IsTransient(full) {
		t.Error("a save is not retried")
	}
}

func TestACallThatADrainEndsIsUnavailable(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	end(errDraining)
	if err := toStatus(ctx, ctx.Err()); status.Code(err) != codes.Unavailable {
		t.Errorf("the status of a call that a drain ended is %v", err)
	}
}
