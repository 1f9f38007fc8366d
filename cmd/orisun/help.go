package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpColumns is the width that help fits.
const helpColumns = 80

// A flag's group is the heading under which help lists it. Without one it is "Flags".
const (
	annotationGroup = "group"
	groupConnection = "Connection"
	// groupSettings are the server's settings. Help does not list them: they have a command of their own.
	groupSettings = "Settings"
)

// group puts all flags of a set that have no group yet into one.
func group(flags *pflag.FlagSet, name string, before func()) {
	known := map[string]bool{}
	flags.VisitAll(func(flag *pflag.Flag) { known[flag.Name] = true })
	before()
	flags.VisitAll(func(flag *pflag.Flag) {
		if !known[flag.Name] {
			flag.Annotations = map[string][]string{annotationGroup: {name}}
		}
	})
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show the help of a command",
		RunE: func(command *cobra.Command, args []string) error {
			found, rest, err := command.Root().Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return usageError{unknownCommand(found, rest[0])}
			}
			found.InitDefaultHelpFlag()
			found.InitDefaultVersionFlag()
			return found.Help()
		},
	}
}

// writeHelp prints a command's help in helpColumns columns, the flags in groups.
func writeHelp(command *cobra.Command, _ []string) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\nUsage:\n  %s\n", strings.TrimSpace(cmp.Or(command.Long, command.Short)), command.UseLine())
	if command.HasAvailableSubCommands() {
		text.WriteString("\nCommands:\n")
		for _, sub := range command.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&text, "  %-*s  %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	if command.HasExample() {
		fmt.Fprintf(&text, "\nExamples:\n%s\n", command.Example)
	}
	groups := map[string]*pflag.FlagSet{}
	command.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		name := "Flags"
		if given := flag.Annotations[annotationGroup]; given != nil {
			name = given[0]
		}
		if groups[name] == nil {
			groups[name] = pflag.NewFlagSet(name, pflag.ContinueOnError)
		}
		groups[name].AddFlag(flag)
	})
	for _, name := range []string{"Flags", groupConnection} {
		if flags := groups[name]; flags != nil {
			fmt.Fprintf(&text, "\n%s:\n%s", name, flags.FlagUsagesWrapped(helpColumns))
		}
	}
	if groups[groupSettings] != nil {
		text.WriteString("\nSettings are flags, too: --pg-port is ORISUN_PG_PORT, and pg.port in the file\nof --config. " +
			"orisun config lists them all.\n")
	}
	if _, err := io.WriteString(command.OutOrStdout(), text.String()); err != nil {
		command.PrintErrln(err)
	}
}
