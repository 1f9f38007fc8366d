package config

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes docs/configuration.md from the tags of Config and descriptions alone.
func WriteMarkdown(out io.Writer) error {
	var page strings.Builder
	page.WriteString(`# Configuration

Defaults, then the YAML file of ` + "`--config`" + `, then the environment, then flags; a later one wins.
` + "`ORISUN_PG_PORT` is the flag `--pg-port`, and `port` in the section `pg`" + ` of the file.

| Variable | Default | Description |
|----------|---------|-------------|
`)
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	for _, f := range fieldsOf(&Config{}) {
		shown := ""
		if f.defaultText != "" {
			shown = "`" + f.defaultText + "`"
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", f.Variable, cell(shown), cell(f.Usage()))
	}
	page.WriteString(`
## Client commands

` + "`orisun save`, `get`, `tail`, `boundary`" + ` and the other commands that call a server read these. A flag wins
over ` + "`ORISUN_URL`" + `, and that over the others.

| Variable | Default | Description |
|----------|---------|-------------|
`)
	for _, variable := range clientVariables {
		fmt.Fprintf(&page, "| `%s` | `%s` | %s |\n", variable.name, cell(variable.value), cell(variable.description))
	}
	_, err := io.WriteString(out, page.String())
	return err
}
