package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker for a release: -ldflags "-X main.version=… -X main.commit=… -X main.date=…".
var version, commit, date string

// buildInfo is what is known of this build: what the linker was told, else what Go noted of the checkout it was built in.
type buildInfo struct {
	version, commit, date string
}

func readBuildInfo() buildInfo {
	build := buildInfo{version: version, commit: commit, date: date}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build
	}
	build.version = cmp.Or(build.version, info.Main.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.commit = cmp.Or(build.commit, setting.Value)
		case "vcs.time":
			build.date = cmp.Or(build.date, setting.Value)
		}
	}
	return build
}

// writeVersion prints what orisun version and orisun --version do.
func writeVersion(out io.Writer) error {
	build := readBuildInfo()
	_, err := fmt.Fprintf(out, "orisun %s commit %s built %s\n", cmp.Or(build.version, "unknown"), cmp.Or(build.commit, "unknown"), cmp.Or(build.date, "unknown"))
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
				build := readBuildInfo()
				return writeJSON(command.OutOrStdout(), struct {
					Version string `json:"version"`
					Commit  string `json:"commit"`
					Date    string `json:"date"`
				}{build.version, build.commit, build.date})
			}
			return writeVersion(command.OutOrStdout())
		},
	}
	addJSONFlag(command.Flags(), &asJSON)
	return command
}
