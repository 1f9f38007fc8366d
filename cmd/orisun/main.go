// Command orisun is the event store in one binary: without arguments it serves; its subcommands show configuration and version.
//
// Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong.
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
	exitFailed        = 1
	exitMisconfigured = 2
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
	return exitFailed
}

// usageError is a command line that cobra cannot read.
type usageError struct{ error }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "orisun",
		Short:         "Orisun, the event store with batteries included. Without a subcommand it serves.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          serve,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	addConfigFlags(root.Flags())
	config := newConfigCommand()
	addConfigFlags(config.Flags())
	root.AddCommand(config, newTailCommand(), newIndexCommand(), newBoundaryCommand(), newUserCommand(), newExplainCommand(), newBenchCommand(), newVersionCommand())
	return root
}
