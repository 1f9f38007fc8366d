// Command orisun is the event store in one binary. Without arguments it serves. Its subcommands show configuration
// and version.
//
// Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong, 3 nothing was saved because the
// context changed, 4 the server does not answer: try again.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/server/config"
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
	// The first signal drains. It also removes the handler, so a second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	command := newRootCommand()
	command.SetArgs(args)
	err := execute(ctx, command)
	if err != nil {
		writeFailure(err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var misconfigured *config.InvalidError
	var misused usageError
	var answered *callError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &misconfigured) || errors.As(err, &misused):
		return exitMisconfigured
	case errors.As(err, &answered):
		return answered.exitCode()
	}
	return exitFailed
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "orisun [COMMAND]",
		Short: "Orisun, the event store with batteries included",
		Long: `Orisun, the event store with batteries included. Without a command it serves
until it is interrupted: the first signal drains, a second one ends it at once.

Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong,
3 nothing was saved because the context changed (read it and decide again),
4 the server does not answer (try again).`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var showVersion bool
	root.Flags().BoolVar(&showVersion, "version", false, "print version, commit and date of this build")
	addConfigFlags(root.Flags())
	root.RunE = func(command *cobra.Command, args []string) error {
		if showVersion {
			return writeVersion(command.OutOrStdout())
		}
		return serve(command, args)
	}
	root.AddCommand(newSaveCommand(), newGetCommand(), newLatestCommand(), newTailCommand(), newCountCommand(),
		newExplainCommand(), newConflictsCommand())
	root.AddCommand(newIndexCommand(), newBoundaryCommand(), newUserCommand(), newSubscriptionCommand())
	config := newConfigCommand()
	addConfigFlags(config.Flags())
	root.AddCommand(config, newHealthCommand(), newMigrateCommand(), newBenchCommand(), newVersionCommand())
	return root
}
