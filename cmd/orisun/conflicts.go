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
		Long: `Show which contexts refused most saves in the last hour (CONTEXT_CHANGED), on
all nodes. A node counts the 1,000 contexts with the latest conflicts, and
begins when it starts. The last line has the sum of all contexts, and that of
each node.

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
				command.PrintErr(warningLines(missingConflicts(answer)))
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
	var nodes []string
	for _, node := range answer.GetNodes() {
		nodes = append(nodes, fmt.Sprintf("%d on node %s", node.GetTotal(), oneLine(node.GetName())))
	}
	_, err := fmt.Fprintf(out, "%s since %s UTC: %s\n", counted(int(answer.GetTotal()), "conflict", "conflicts"),
		answer.GetSince().AsTime().Format(time.DateTime), strings.Join(nodes, ", "))
	return err
}

// missingConflicts names the nodes whose conflicts are missing from an answer.
func missingConflicts(answer *orisunpb.ListConflictsResponse) (warnings []string) {
	for _, name := range answer.GetUnanswered() {
		warnings = append(warnings, fmt.Sprintf("node %s does not answer: its conflicts are missing", oneLine(name)))
	}
	for _, node := range answer.GetDisconnected() {
		warnings = append(warnings, fmt.Sprintf("node %s has been disconnected since %s UTC: its conflicts are missing",
			oneLine(node.GetName()), node.GetSince().AsTime().Format(time.DateTime)))
	}
	return warnings
}
