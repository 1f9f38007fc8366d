package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestStrangersCannotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		calls := newCallLog(slog.New(slog.NewTextHandler(&log, nil)))
		end := func(code codes.Code) { calls.ended(context.Background(), "/m", time.Now(), status.Error(code, "x")) }
		for range 10_000 {
			end(codes.Unauthenticated)
		}
		if lines := strings.Count(log.String(), "\n"); lines != warningBurst {
			t.Errorf("%d lines for 10,000 guesses at once", lines)
		}
		log.Reset()
		end(codes.Unavailable)
		end(codes.Internal)
		if lines := strings.Count(log.String(), "\n"); lines != 2 {
			t.Errorf("%d lines for other ends: %s", lines, log.String())
		}
		log.Reset()
		<-time.After(warningEvery)
		end(codes.Unauthenticated)
		if !strings.Contains(log.String(), "unlogged=9980") {
			t.Errorf("later: %s", log.String())
		}
	})
}

// unavailable is UNAVAILABLE with a cause, as the service makes it.
type unavailable struct{ cause error }

func (unavailable) Error() string              { return "try again" }
func (unavailable) GRPCStatus() *status.Status { return status.New(codes.Unavailable, "try again") }
func (u unavailable) Unwrap() error            { return u.cause }

func TestTheLogRanksWhatIsNotTheServersFaultAsDetail(t *testing.T) {
	calls := newCallLog(slog.New(slog.DiscardHandler))
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-expired.Done()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want slog.Level
	}{
		"a caller's expired deadline":       {expired, status.Error(codes.DeadlineExceeded, "x"), slog.LevelDebug},
		"a statement that takes too long":   {t.Context(), status.Error(codes.DeadlineExceeded, "x"), slog.LevelWarn},
		"PostgreSQL is away":                {t.Context(), unavailable{&pgconn.PgError{Code: "57P01"}}, slog.LevelDebug},
		"PostgreSQL has no connection left": {t.Context(), unavailable{&pgconn.PgError{Code: "53300"}}, slog.LevelWarn},
		"UNAVAILABLE for another reason":    {t.Context(), unavailable{errors.New("x")}, slog.LevelWarn},
		"a guess of a caller that is gone":  {expired, status.Error(codes.Unauthenticated, "x"), slog.LevelWarn},
		"INTERNAL":                          {expired, status.Error(codes.Internal, "x"), slog.LevelError},
	} {
		if got := calls.levelOf(c.ctx, status.Code(c.err), c.err); got != c.want {
			t.Errorf("%s is %v, want %v", name, got, c.want)
		}
	}
	calls.draining.Store(true)
	if got := calls.levelOf(t.Context(), codes.Unavailable,
		status.Error(codes.Unavailable, "the server is shutting down")); got != slog.LevelDebug {
		t.Errorf("UNAVAILABLE while the server drains is %v", got)
	}
}
