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
)

// flagText is a flag's text as it was typed: loadConfig parses it, so that one error names every value that is wrong.
type flagText struct{ text, kind string }

func (f *flagText) String() string        { return f.text }
func (f *flagText) Set(text string) error { f.text = text; return nil }
func (f *flagText) Type() string          { return f.kind }

// addConfigFlags adds --config and a flag for every setting: --pg-port for ORISUN_PG_PORT.
func addConfigFlags(flags *pflag.FlagSet) {
	flags.String(configFlag, "", "YAML `FILE` with settings; ORISUN_PG_PORT is pg.port there")
	group(flags, groupSettings, func() {
		for _, f := range fieldsOf(&Config{}) {
			flag := flags.VarPF(&flagText{f.defaultText, f.kind()}, f.flag, "", f.usage())
			if f.kind() == "bool" {
				flag.NoOptDefVal = "true"
			}
		}
	})
}

// usage is the description with what is allowed.
func (f field) usage() string {
	if f.allowed() == "" || f.kind() == "bool" {
		return f.description
	}
	return f.description + " (" + f.allowed() + ")"
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
				return writeConfigMarkdown(command.OutOrStdout())
			}
			r := readConfig(command.Flags(), os.Environ())
			for _, warning := range r.warnings {
				if _, err := fmt.Fprintln(command.ErrOrStderr(), "warning:", warning); err != nil {
					return err
				}
			}
			write := writeConfigTable
			if asJSON {
				write = writeConfigJSON
			}
			if err := write(command.OutOrStdout(), r.settings); err != nil {
				return err
			}
			return r.err()
		},
	}
	command.Flags().BoolVar(&markdown, "markdown", false, "print the settings' documentation instead")
	addJSONFlag(command.Flags(), &asJSON)
	command.MarkFlagsMutuallyExclusive("markdown", "json")
	return command
}

func writeConfigTable(out io.Writer, settings []*setting) error {
	var table strings.Builder
	fmt.Fprintln(&table, "VARIABLE\tVALUE\tFROM\tDESCRIPTION")
	for _, s := range settings {
		fmt.Fprintf(&table, "%s\t%s\t%s\t%s\n", s.env, oneLine(s.shown()), s.from, s.usage())
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, table.String()); err != nil {
		return err
	}
	return columns.Flush()
}

// oneLine quotes what would break the table or speak to the terminal.
func oneLine(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func writeConfigJSON(out io.Writer, settings []*setting) error {
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
		if err := writeJSON(out, row{s.env, "--" + s.flag, s.key, s.shown(), s.from, s.tag.Get("secret") == "true", s.usage()}); err != nil {
			return err
		}
	}
	return nil
}

// writeConfigMarkdown writes docs/configuration.md, which depends on the tags of Config alone.
func writeConfigMarkdown(out io.Writer) error {
	var page strings.Builder
	page.WriteString(`# Configuration

Defaults, then the YAML file of ` + "`--config`, then the environment, then flags; a later one wins. `ORISUN_PG_PORT` is the flag `--pg-port`, and `port` in the section `pg` of the file" + `.

| Variable | Default | Description |
|----------|---------|-------------|
`)
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	for _, f := range fieldsOf(&Config{}) {
		shown := ""
		if f.defaultText != "" {
			shown = "`" + f.defaultText + "`"
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", f.env, cell(shown), cell(f.usage()))
	}
	page.WriteString(`
## Client commands

` + "`orisun save`, `get`, `tail`, `boundary` and the other commands that call a server read these. A flag wins over `ORISUN_URL`, and that over the others" + `.

| Variable | Default | Description |
|----------|---------|-------------|
`)
	for _, variable := range clientVariables {
		fmt.Fprintf(&page, "| `%s` | `%s` | %s |\n", variable.name, cell(variable.value), cell(variable.description))
	}
	_, err := io.WriteString(out, page.String())
	return err
}
