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

func newConflictsCommand() *cobra.Command {
	var count uint32
	var asJSON bool
	command := &cobra.Command{
		Use:   "conflicts BOUNDARY",
		Short: "Show which contexts refused most saves in the last hour",
		Long: `Show which contexts refused most saves in the last hour (CONTEXT_CHANGED), as
the node that answers has counted them. A node counts the 1,000 contexts with
the latest conflicts; the last line sums up all of them.

LAST MINUTE counts the current minute and the one before it. The command needs
the right to read events: contexts contain values of events.`,
		Example: `  orisun conflicts orders
  orisun conflicts orders --count 5 --json`,
		Args: exactly("BOUNDARY"),
	}
	command.Flags().Uint32Var(&count, "count", 0, "contexts at most; 0 means 20, at most 100")
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			answer, err := admin.ListConflicts(ctx, &orisunpb.ListConflictsRequest{Boundary: args[0], Count: count})
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeMessages(command.OutOrStdout(), answer)
			default:
				return writeConflicts(command.OutOrStdout(), answer)
			}
		})
	}
	return command
}

func writeConflicts(out io.Writer, answer *orisunpb.ListConflictsResponse) error {
	text := "CONFLICTS\tLAST MINUTE\tLAST (UTC)\tCONTEXT\n"
	for _, context := range answer.GetContexts() {
		minutes := context.GetMinutes()
		var criteria []string
		for _, criterion := range context.GetCriteria() {
			criteria = append(criteria, formatCriterion(criterion))
		}
		text += fmt.Sprintf("%d\t%d\t%s\t%s\n", context.GetCount(), minutes[len(minutes)-1]+minutes[len(minutes)-2],
			context.GetLast().AsTime().Format(time.TimeOnly), strings.Join(criteria, " or "))
	}
	if err := writeTable(out, text); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s on node %s since %s UTC\n", counted(int(answer.GetTotal()), "conflict",
		"conflicts"), answer.GetNode(),
		answer.GetSince().AsTime().Format(time.DateTime))
	return err
}
