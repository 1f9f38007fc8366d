package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oexza/orisun/server/config"
)

// addConfigFlags adds --config and a flag for every setting, which help does not list.
func addConfigFlags(flags *pflag.FlagSet) {
	group(flags, groupSettings, func() { config.AddFlags(flags) })
	flags.Lookup(config.FileFlag).Annotations = nil // help lists this one
}

// newConfigCommand returns the command `orisun config`. Its parent has the flags of addConfigFlags as persistent ones.
func newConfigCommand() *cobra.Command {
	var markdown, asJSON bool
	command := &cobra.Command{
		Use:   "config",
		Short: "Show every setting, its value in force and where it comes from",
		Long: `Show every setting, its value in force and where it comes from: the default, the
file, the environment or a flag. Secrets are masked. The exit code is 2 when the
configuration is not valid.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if markdown {
				return config.WriteMarkdown(command.OutOrStdout())
			}
			r := config.Read(command.Flags(), os.Environ())
			for _, warning := range r.Warnings {
				if _, err := fmt.Fprintln(command.ErrOrStderr(), "warning:", warning); err != nil {
					return err
				}
			}
			write := writeConfigTable
			if asJSON {
				write = writeConfigJSON
			}
			if err := write(command.OutOrStdout(), r.Settings); err != nil {
				return err
			}
			return r.Err()
		},
	}
	command.Flags().BoolVar(&markdown, "markdown", false, "print the settings' documentation instead")
	addJSONFlag(command.Flags(), &asJSON)
	command.MarkFlagsMutuallyExclusive("markdown", "json")
	return command
}

func writeConfigTable(out io.Writer, settings []*config.Setting) error {
	var table strings.Builder
	fmt.Fprintln(&table, "VARIABLE\tVALUE\tFROM\tDESCRIPTION")
	for _, s := range settings {
		fmt.Fprintf(&table, "%s\t%s\t%s\t%s\n", s.Variable, oneLine(s.Shown()), s.From, s.Usage())
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, table.String()); err != nil {
		return err
	}
	return columns.Flush()
}

// oneLine quotes characters that would break the table or control the terminal.
func oneLine(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func writeConfigJSON(out io.Writer, settings []*config.Setting) error {
	type row struct {
		Variable    string `json:"variable"`
		Flag        string `json:"flag"`
		Key         string `json:"key"`
		Value       string `json:"value"`
		From        string `json:"from"`
		Secret      bool   `json:"secret"`
		Description string `json:"description"`
	}
	for _, s := range settings {
		if err := writeJSON(out, row{
			s.Variable, "--" + s.Flag, s.Key, s.Shown(), s.From, s.IsSecret(), s.Usage(),
		}); err != nil {
			return err
		}
	}
	return nil
}
