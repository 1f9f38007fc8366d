package main

import (
	"os"

	"github.com/spf13/cobra"
)

func serve(command *cobra.Command, _ []string) error {
	config, warnings, err := loadConfig(command.Flags(), os.Environ())
	if err != nil {
		return err
	}
	tuneMemory()
	log := newLogger(os.Stderr, config.Logging.Level)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	return NewServer(config, log).Run(command.Context())
}
