package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
)

func serve(command *cobra.Command, _ []string) error {
	config, warnings, err := loadConfig(command.Flags(), os.Environ())
	if err != nil {
		return err
	}
	tuneMemory(command.Context())
	log := newLogger(os.Stderr, config.Logging.Level)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	// What OpenTelemetry cannot do with a measurement or a span costs nobody but whoever looks for it.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("OpenTelemetry", "error", err) }))
	if err := NewServer(config, log).Run(command.Context()); err != nil {
		return lineError{err}
	}
	return nil
}

// lineError says all that went wrong in one line, as logs have it.
type lineError struct{ error }

func (e lineError) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }

func (e lineError) Unwrap() error { return e.error }
