package jetstream

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestStrangersAtThePortDoNotFillTheLog(t *testing.T) {
	var text bytes.Buffer
	log := newLogger(slog.New(slog.NewTextHandler(&text, nil)), t.TempDir())
	for range 10_000 {
		log.Errorf("%s - %s - authentication error - User %q", "192.0.2.1:4711", "cid:7", "admin")
	}
	if lines := strings.Count(text.String(), "\n"); lines < lineBurst || lines > 2*lineBurst || strings.Contains(text.String(), "level=ERROR") {
		t.Errorf("10,000 guesses are told in %d lines", lines)
	}
	text.Reset()
	for range 2 * lineBurst {
		log.Errorf("JetStream out of resources")
	}
	if lines := strings.Count(text.String(), "level=ERROR"); lines != 2*lineBurst {
		t.Errorf("%d of %d lines about the server itself", lines, 2*lineBurst)
	}
}
