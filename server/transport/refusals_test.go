package transport

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepeatedRefusalsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		refusals := NewRefusals(slog.New(slog.NewTextHandler(&log, nil)))
		for range 10_000 {
			refusals.Tell("TLS handshake refused")
		}
		if lines := strings.Count(log.String(), "\n"); lines != warningBurst {
			t.Errorf("%d lines for 10,000 refusals at once", lines)
		}
		<-time.After(warningEvery) // the bubble's clock
		refusals.Tell("TLS handshake refused")
		if !strings.Contains(log.String(), fmt.Sprint("unlogged=", 10_000-warningBurst)) {
			t.Errorf("later: %s", log.String())
		}
	})
}
