package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		if !strings.Contains(log.String(), "unlogged=9900") {
			t.Errorf("later: %s", log.String())
		}
	})
}
