package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newExplainCommand() *cobra.Command {
	var plan, asJSON bool
	command := &cobra.Command{
		Use:   "explain BOUNDARY [--where KEY=VALUE]...",
		Short: "Show which index a query uses, and how much is read for it",
		Long: `Show which index a query uses for each criterion, and how much is read for it.
The query runs, and its result is thrown away.

EVENTS were found by a scan; THROWN AWAY were read and did not match; BUFFERS
are the pages of 8 kB that were touched. Where no index serves a criterion, the
primary key does, which reads all events until the page is full: orisun index
advise shows what is missing.`,
		Example: `  orisun explain orders --where user_id=7
  orisun explain orders --where event_type=OrderPlaced --where user_id=7 --json`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	page := addPageFlags(flags)
	flags.BoolVar(&plan, "plan", false, "print PostgreSQL's plan instead, as JSON")
	addJSONFlag(flags, &asJSON)
	command.MarkFlagsMutuallyExclusive("plan", "json")
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			explained, err := store.Explain(ctx, &orisunpb.ExplainRequest{GetEvents: page.request(args[0])})
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeMessages(command.OutOrStdout(), explained)
			case plan:
				_, err := fmt.Fprintln(command.OutOrStdout(), explained.GetPlan())
				return err
			default:
				return writeExplained(command.OutOrStdout(), page.criteria.list, explained)
			}
		})
	}
	return command
}

func writeExplained(out io.Writer, criteria []*orisunpb.Criterion, explained *orisunpb.ExplainResponse) error {
	text := "CRITERION\tINDEX\tEVENTS\tTHROWN AWAY\tBUFFERS\n"
	for _, scan := range explained.GetScans() {
		index := scan.GetIndex()
		if !scan.GetServed() {
			index = "none: " + index
		}
		name := "every event"
		for i, number := range scan.GetCriteria() {
			if i > 0 {
				text += name + "\t\"\t\t\t\n" // the same scan finds it
			}
			name = formatCriterion(criteria[number-1])
		}
		text += fmt.Sprintf("%s\t%s\t%d\t%d\t%d\n", name, index, scan.GetEvents(), scan.GetFiltered(), scan.GetBuffers())
	}
	if err := writeTable(out, text); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d events, %d buffers, planned in %.2f ms, run in %.2f ms\n",
		explained.GetEvents(), explained.GetBuffers(), explained.GetPlanningMs(), explained.GetExecutionMs())
	return err
}
