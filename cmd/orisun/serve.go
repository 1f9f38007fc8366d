package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"golang.org/x/term"

	"github.com/oexza/orisun/server"
	"github.com/oexza/orisun/server/config"
)

func serve(command *cobra.Command, _ []string) error {
	if err := serveConfigured(command); err != nil {
		return serverError{err}
	}
	return nil
}

func serveConfigured(command *cobra.Command) error {
	config, warnings, err := config.Load(command.Flags(), os.Environ())
	if err != nil {
		return err
	}
	tuneMemory(command.Context())
	log := newLogger(os.Stderr, config.Logging.Level)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	// An error of OpenTelemetry with a measurement or a span affects nothing else, so it is logged as detail.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("OpenTelemetry", "error", err) }))
	if err := server.Run(command.Context(), server.Config{Settings: config, Log: log}); err != nil {
		return lineError{err}
	}
	return nil
}

// serverError is why the server did not start, or ended.
type serverError struct{ error }

func (e serverError) Unwrap() error { return e.error }

// writeFailure prints why a command failed. For the server that is a line of its log, where that is JSON.
func writeFailure(err error) {
	var server serverError
	if errors.As(err, &server) && !term.IsTerminal(int(os.Stderr.Fd())) {
		newLogger(os.Stderr, slog.LevelError).Error("the server ends", "error", lineError{err}.Error())
		return
	}
	fmt.Fprintln(os.Stderr, "orisun:", err)
}

// lineError prints all errors in one line, as logs have it.
type lineError struct{ error }

func (e lineError) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

func (e lineError) Unwrap() error { return e.error }
