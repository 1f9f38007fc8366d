package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newIndexAdviseCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "advise BOUNDARY",
		Short: "Show which indexes are missing or unused, as commands to copy",
		Long: `Show which indexes are missing or unused, with the commands to copy.

An index is missing where criteria that this node served have no index: all
events are read for them. One is unused that PostgreSQL has not used since its
statistics were reset; every save pays for it.`,
		Example: `  orisun index advise orders`,
		Args:    exactly("BOUNDARY"),
	}
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			list, err := store.ListIndexes(ctx, &orisunpb.ListIndexesRequest{Boundary: args[0]})
			if err != nil {
				return err
			}
			return writeAdvice(command.OutOrStdout(), args[0], list)
		})
	}
	return command
}

func writeAdvice(out io.Writer, boundary string, list *orisunpb.ListIndexesResponse) error {
	var text strings.Builder
	for _, advice := range list.GetAdvice() {
		fmt.Fprintf(&text, "# no index for criteria on %s: asked %d times since %s\n", oneLine(strings.Join(advice.GetKeys(), ", ")), advice.GetCount(),
			advice.GetSince().AsTime().Format(time.DateTime))
		command := "orisun index create " + quoteShell(boundary) + " " + advice.GetCreate().GetName()
		for _, field := range advice.GetCreate().GetFields() {
			command += " --field " + quoteShell(formatField(field))
		}
		text.WriteString(command + "\n")
	}
	for _, usage := range list.GetUsage() {
		if usage.GetScans() == 0 {
			fmt.Fprintf(&text, "# index %s (%s) was not used since PostgreSQL's statistics were reset\norisun index drop %s %[1]s\n",
				usage.GetName(), formatBytes(usage.GetSizeBytes()), quoteShell(boundary))
		}
	}
	if text.Len() == 0 {
		text.WriteString("# every criterion that this node was asked for has an index, and every index is used\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// quoteShell makes one word of a text, for people to copy.
func quoteShell(text string) string {
	if text != "" && strings.IndexFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/", r)
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
