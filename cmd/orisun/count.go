package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newCountCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "count BOUNDARY",
		Short: "Print how many events a boundary has",
		Long: `Print how many events a boundary has, which costs the same at any number. The
roles admin, operations and admin:BOUNDARY may count.`,
		Example: `  orisun count orders`,
		Args:    exactly("BOUNDARY"),
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			answer, err := admin.GetEventCount(ctx, &orisunpb.GetEventCountRequest{Boundary: args[0]})
			if err != nil {
				return err
			}
			if asJSON {
				return writeMessages(command.OutOrStdout(), answer)
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), answer.GetCount())
			return err
		})
	}
	return command
}
