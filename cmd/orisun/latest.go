package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newLatestCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "latest BOUNDARY --where KEY=VALUE [--or --where KEY=VALUE]...",
		Short: "Print the latest event of each criterion",
		Long: `Print the latest event of each criterion, all of one moment, and the context's
position: what orisun save takes for --expect when a decision rests on them.

With --json the answer is one JSON object.`,
		Example: `  orisun latest banking --where account=alice --or --where account=bob
  orisun latest orders --where order_id=7 --json | jq -r .context_position`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	criteria := addCriteriaFlags(flags, "the criterion")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(criteria.list) == 0 {
			return usageError{errors.New("latest needs a criterion, such as --where account=alice")}
		}
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			latest, err := store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
				Boundary: args[0], Criteria: criteria.list,
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeMessages(command.OutOrStdout(), latest)
			}
			return writeLatest(command.OutOrStdout(), latest)
		})
	}
	return command
}

func writeLatest(out io.Writer, latest *orisunpb.GetLatestByCriteriaResponse) error {
	text := "CRITERION\tPOSITION\tTIME\tTYPE\tID\tDATA\n"
	for _, result := range latest.GetResults() {
		row := "none"
		if result.GetEvent() != nil {
			row = eventRow(result.GetEvent())
		}
		text += formatCriterion(result.GetCriterion()) + "\t" + row + "\n"
	}
	if err := writeTable(out, text); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "context position %s\n", formatPosition(latest.GetContextPosition()))
	return err
}
