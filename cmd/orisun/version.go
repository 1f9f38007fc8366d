package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/server/version"
)

// writeVersion prints the output of orisun version and orisun --version.
func writeVersion(out io.Writer) error {
	build := version.Read()
	_, err := fmt.Fprintf(out, "orisun %s commit %s built %s\n",
		cmp.Or(build.Version, "unknown"), cmp.Or(build.Commit, "unknown"), cmp.Or(build.Date, "unknown"))
	return err
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and date of this build",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if asJSON {
				build := version.Read()
				return writeJSON(command.OutOrStdout(), struct {
					Version string `json:"version"`
					Commit  string `json:"commit"`
					Date    string `json:"date"`
				}{build.Version, build.Commit, build.Date})
			}
			return writeVersion(command.OutOrStdout())
		},
	}
	addJSONFlag(command.Flags(), &asJSON)
	return command
}
