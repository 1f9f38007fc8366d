package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oexza/orisun/service/nearest"
)

// usageError is an invalid command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// execute runs a command line. Every error from before a command begins is a usageError.
func execute(ctx context.Context, root *cobra.Command) error {
	begun := false
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetHelpFunc(writeHelp)
	root.SetFlagErrorFunc(flagError)
	var complete func(*cobra.Command)
	complete = func(command *cobra.Command) {
		if command.HasSubCommands() {
			requireSubcommand(command)
		}
		if run := command.RunE; run != nil {
			command.RunE = func(command *cobra.Command, args []string) error {
				begun = true
				return run(command, args)
			}
		}
		for _, sub := range command.Commands() {
			complete(sub)
		}
	}
	complete(root)
	err := root.ExecuteContext(ctx)
	if err != nil && !begun {
		return usageError{err}
	}
	return err
}

// requireSubcommand rejects an unknown or missing subcommand, for which cobra would print help and succeed.
func requireSubcommand(command *cobra.Command) {
	command.Args = func(command *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(command, args[0])
		}
		return nil
	}
	if !command.Runnable() {
		command.Use += " COMMAND"
		command.RunE = func(command *cobra.Command, _ []string) error {
			return usageError{
				fmt.Errorf("%s needs a command: %s", command.CommandPath(), strings.Join(subcommands(command), ", ")),
			}
		}
	}
}

func unknownCommand(parent *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q for %q", name, parent.CommandPath())
	for _, sub := range parent.Commands() {
		if slices.Contains(sub.SuggestFor, name) {
			return fmt.Errorf("%s: did you mean %s?", message, sub.Name())
		}
	}
	names := subcommands(parent)
	if near, found := nearest.Name(name, names); found {
		return fmt.Errorf("%s: did you mean %s?", message, near)
	}
	return fmt.Errorf("%s: the commands are %s", message, strings.Join(names, ", "))
}

func subcommands(command *cobra.Command) (names []string) {
	for _, sub := range command.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// exactly rejects any other number of arguments than the ones named.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == len(names) && !slices.Contains(args, "") {
			return nil
		}
		example, _, _ := strings.Cut(command.Example, "\n")
		return fmt.Errorf("%s needs %s, such as: %s",
			command.CommandPath(), strings.Join(names, " and "), strings.TrimSpace(strings.TrimSuffix(example, `\`)))
	}
}

// flagError describes what is wrong with a flag without the messages of Go's parsers.
func flagError(command *cobra.Command, err error) error {
	if command.HasSubCommands() && command.Flags().NArg() > 0 { // the flag belongs to the subcommand that does not exist
		return unknownCommand(command, command.Flags().Arg(0))
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("--%s is %q: %w", invalid.GetFlag().Name, invalid.GetValue(),
			mustBe(invalid.GetFlag().Value.Type(), invalid.Unwrap()))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		command.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
		if near, found := nearest.Name(unknown.GetSpecifiedName(), names); found {
			return fmt.Errorf("%w: did you mean --%s?", err, near)
		}
		return fmt.Errorf("%w: %s --help lists the flags", err, command.CommandPath())
	}
	return err
}

// mustBe describes the valid values of a flag's type, if cause is an error of one of Go's parsers.
func mustBe(kind string, cause error) error {
	var number *strconv.NumError
	isNumber := errors.As(cause, &number)
	switch {
	case kind == "duration":
		return errors.New("it must be a duration such as 10s, 500ms or 1m30s")
	case !isNumber:
		return cause
	case kind == "bool":
		return errors.New("it must be true or false")
	case kind == "float64":
		return errors.New("it must be a number")
	case kind == "intSlice":
		return errors.New("it must be whole numbers with commas between them")
	case strings.HasPrefix(kind, "uint"):
		return fmt.Errorf("it must be a whole number from 0 to %d", uint64(1)<<bits(kind)-1)
	default:
		return errors.New("it must be a whole number")
	}
}

// bits is the size of a uint64, uint32, uint16 or uint8.
func bits(kind string) int {
	size, err := strconv.Atoi(strings.TrimPrefix(kind, "uint"))
	if err != nil {
		return strconv.IntSize
	}
	return size
}
