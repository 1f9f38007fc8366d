package main

import (
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// newLogger writes text for people at a terminal, and JSON for machines elsewhere. Durations have their unit in both.
func newLogger(out *os.File, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().Round(10 * time.Microsecond).String())
		}
		return a
	}}
	if term.IsTerminal(int(out.Fd())) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}
