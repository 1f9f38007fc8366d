package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newGetCommand() *cobra.Command {
	var criteria alternatives
	var after string
	var descending, asJSON bool
	var count uint32
	command := &cobra.Command{
		Use:   "get BOUNDARY [--where KEY=VALUE]...",
		Short: "Print a page of a boundary's events",
		Long: `Print a page of a boundary's events, in the order of their positions. The position of the last one, given to --after, asks for the next page.

With --json an event is a JSON object on a line, which orisun save reads.`,
		Example: `  orisun get orders
  orisun get orders --where user_id=alice --or --where user_id=bob --desc --count 10
  orisun get orders --after 42/41 --json | jq .data`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.Var(whereFlag{&criteria}, "where", "key=value: a tag of the criterion; event_type is the type; several must all hold")
	flags.Var(orFlag{&criteria}, "or", "begin another criterion")
	flags.Lookup("or").NoOptDefVal = "true"
	flags.StringVar(&after, "after", "", "where the page begins, after the position TX/GID; if none is given, at the beginning, or with --desc at the end")
	flags.BoolVar(&descending, "desc", false, "from the end back")
	flags.Uint32Var(&count, "count", 100, "events of the page, at most 10,000")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		question := &orisunpb.GetEventsRequest{Boundary: args[0], Count: count, Query: &orisunpb.Query{Criteria: criteria.list}}
		if descending {
			question.Direction = orisunpb.Direction_DESC
		}
		if after != "" {
			position, err := parseAfter(after)
			if err != nil || position == nil {
				return usageError{fmt.Errorf("--after is %q: it must be start or a position such as 42/41", after)}
			}
			question.AfterPosition = position
		}
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			page, err := store.GetEvents(command.Context(), question)
			if err != nil {
				return explain(err)
			}
			return writeEvents(command.OutOrStdout(), page.GetEvents(), asJSON)
		})
	}
	return command
}

func writeEvents(out io.Writer, events []*orisunpb.Event, asJSON bool) error {
	if asJSON {
		for _, event := range events {
			if err := writeEventJSON(out, event); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "POSITION\tTIME\tTYPE\tID\tDATA"); err != nil {
		return err
	}
	for _, event := range events {
		if _, err := fmt.Fprintln(table, eventRow(event)); err != nil {
			return err
		}
	}
	return table.Flush()
}

func eventRow(event *orisunpb.Event) string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", formatPosition(event.GetPosition()), event.GetDateCreated().AsTime().Format("2006-01-02T15:04:05.000Z"),
		printable(event.GetEventType()), printable(event.GetEventId()), printable(event.GetData()))
}
