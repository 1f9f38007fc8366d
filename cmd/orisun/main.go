// Command orisun is the event store in one binary: without arguments it serves; its subcommands show configuration and version.
//
// Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong, 3 nothing was saved because the context changed, 4 the server
// does not answer: try again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

const (
	exitFailed         = 1
	exitMisconfigured  = 2
	exitContextChanged = 3
	exitUnavailable    = 4
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal drains; with the handler gone, a second one ends the process at once.
	context.AfterFunc(ctx, stop)

	command := newRootCommand()
	command.SetArgs(args)
	err := command.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "orisun:", err)
	var misconfigured *configError
	var misused usageError
	if errors.As(err, &misconfigured) || errors.As(err, &misused) {
		return exitMisconfigured
	}
	var answered *callError
	if errors.As(err, &answered) {
		return answered.exitCode()
	}
	return exitFailed
}

// usageError is a command line that cobra cannot read.
type usageError struct{ error }

// noArgs refuses what cobra would take for a failure of the command.
func noArgs(command *cobra.Command, args []string) error {
	if err := cobra.NoArgs(command, args); err != nil {
		return usageError{err}
	}
	return nil
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "orisun",
		Short: "Orisun, the event store with batteries included. Without a subcommand it serves.",
		Long: `Orisun, the event store with batteries included. Without a subcommand it serves, until it is interrupted: the first signal drains, a second one ends it at once.

Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong, 3 nothing was saved because the context changed (read it and decide again),
4 the server does not answer (try again).`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          serve,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	addConfigFlags(root.Flags())
	config := newConfigCommand()
	addConfigFlags(config.Flags())
	root.AddCommand(newSaveCommand(), newGetCommand(), newLatestCommand(), newMigrateCommand())
	root.AddCommand(config, newTailCommand(), newIndexCommand(), newBoundaryCommand(), newUserCommand(), newExplainCommand(), newBenchCommand(), newVersionCommand())
	return root
}
