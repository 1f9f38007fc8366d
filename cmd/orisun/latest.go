package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newLatestCommand() *cobra.Command {
	var criteria alternatives
	var asJSON bool
	command := &cobra.Command{
		Use:   "latest BOUNDARY --where KEY=VALUE [--or --where KEY=VALUE]...",
		Short: "Print the latest event of each criterion",
		Long: `Print the latest event of each criterion, all of one moment, and the context's position: what orisun save takes for --expect when a decision rests on them.

With --json the answer is one JSON object.`,
		Example: `  orisun latest banking --where account_holder=alice --or --where account_holder=bob
  orisun latest orders --where event_type=OrderPlaced --json | jq .context_position`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.Var(whereFlag{&criteria}, "where", "key=value: a tag of the criterion; event_type is the type; several must all hold")
	flags.Var(orFlag{&criteria}, "or", "begin another criterion")
	flags.Lookup("or").NoOptDefVal = "true"
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(criteria.list) == 0 {
			return usageError{errors.New("latest needs a criterion, such as --where account_holder=alice")}
		}
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			latest, err := store.GetLatestByCriteria(command.Context(), &orisunpb.GetLatestByCriteriaRequest{Boundary: args[0], Criteria: criteria.list})
			if err != nil {
				return explain(err)
			}
			if asJSON {
				return writeLatestJSON(command.OutOrStdout(), latest)
			}
			return writeLatest(command.OutOrStdout(), latest)
		})
	}
	return command
}

func writeLatest(out io.Writer, latest *orisunpb.GetLatestByCriteriaResponse) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text := "CRITERION\tPOSITION\tTIME\tTYPE\tID\tDATA\n"
	for _, result := range latest.GetResults() {
		row := "none"
		if result.GetEvent() != nil {
			row = eventRow(result.GetEvent())
		}
		text += formatCriterion(result.GetCriterion()) + "\t" + row + "\n"
	}
	if _, err := io.WriteString(table, text); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "context position %s\n", formatPosition(latest.GetContextPosition()))
	return err
}

func writeLatestJSON(out io.Writer, latest *orisunpb.GetLatestByCriteriaResponse) error {
	type tagJSON struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	type resultJSON struct {
		Criterion []tagJSON  `json:"criterion"`
		Event     *eventJSON `json:"event"`
	}
	results := make([]resultJSON, len(latest.GetResults()))
	for i, result := range latest.GetResults() {
		results[i] = resultJSON{[]tagJSON{}, toEventJSON(result.GetEvent())}
		for _, tag := range result.GetCriterion().GetTags() {
			results[i].Criterion = append(results[i].Criterion, tagJSON{tag.GetKey(), tag.GetValue()})
		}
	}
	return writeOneJSON(out, struct {
		Results         []resultJSON `json:"results"`
		ContextPosition positionJSON `json:"context_position"`
	}{results, toPositionJSON(latest.GetContextPosition())})
}
