package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestWhoIsRefusedManyTimesDoesNotFillTheLog(t *testing.T) {
	var log bytes.Buffer
	refusals := newRefusals(slog.New(slog.NewTextHandler(&log, nil)))
	for range 10_000 {
		refusals.tell("TLS handshake refused")
	}
	if lines := strings.Count(log.String(), "\n"); lines < warningBurst || lines > 2*warningBurst {
		t.Errorf("10,000 refusals are told in %d lines, of which %d may come at once", lines, warningBurst)
	}
	waitFor(t, func() bool { // until there is room for another one
		refusals.tell("TLS handshake refused")
		return strings.Contains(log.String(), "unlogged=")
	})
}
