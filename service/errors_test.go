package service

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestACallerIsToldOfAFullDisk, and not that PostgreSQL is away, which would be looked for elsewhere.
func TestACallerIsToldOfAFullDisk(t *testing.T) {
	full := &pgconn.PgError{Severity: "ERROR", Code: "53100", Message: `could not extend file "base/1/2": No space left on device`}
	told := status.Convert(toStatus(t.Context(), full))
	if told.Code() != codes.Unavailable || told.Message() != "PostgreSQL's disk is full; try again when there is room" {
		t.Errorf("%s: %s", told.Code(), told.Message())
	}
	if details := told.Details(); len(details) != 1 || details[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration() != retryAfter {
		t.Errorf("details: %v", details)
	}
	if !IsTransient(full) {
		t.Error("a save is not sent again")
	}
}
