package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newExplainCommand() *cobra.Command {
	var criteria alternatives
	var after string
	var descending, plan bool
	var count uint32
	command := &cobra.Command{
		Use:   "explain BOUNDARY [--where KEY=VALUE]...",
		Short: "Tell which index a question uses for each criterion, and how much is read for it",
		Long: `Tell which index a question uses for each criterion, and how much is read for it: the question is asked, and its answer thrown away.

EVENTS were found by a scan; THROWN AWAY were read and did not match; BUFFERS are the pages of 8 kB that were touched. What no index serves is looked for with the
primary key, which reads all events until the page is full: orisun index advise tells what to do.`,
		Example: `  orisun explain orders --where user_id=alice
  orisun explain orders --where event_type=OrderPlaced --where user_id=alice --or --where user_id=bob --desc --count 10`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.Var(whereFlag{&criteria}, "where", "key=value: a tag of the criterion; event_type is the type; several must all hold")
	flags.Var(orFlag{&criteria}, "or", "begin another criterion")
	flags.Lookup("or").NoOptDefVal = "true"
	flags.StringVar(&after, "after", "start", "where the page begins: start, or after the position TX/GID")
	flags.BoolVar(&descending, "desc", false, "from the end back")
	flags.Uint32Var(&count, "count", 100, "events of the page")
	flags.BoolVar(&plan, "plan", false, "print PostgreSQL's plan instead, as JSON")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		question := &orisunpb.GetEventsRequest{Boundary: args[0], Count: count, Query: &orisunpb.Query{Criteria: criteria.list}}
		if descending {
			question.Direction = orisunpb.Direction_DESC
		}
		if after != "start" {
			position, err := parseAfter(after)
			if err != nil || position == nil {
				return usageError{fmt.Errorf("--after is %q: it must be start or a position such as 42/41", after)}
			}
			question.AfterPosition = position
		}
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			explained, err := store.Explain(command.Context(), &orisunpb.ExplainRequest{GetEvents: question})
			if err != nil {
				return explain(err)
			}
			if plan {
				_, err := fmt.Fprintln(command.OutOrStdout(), explained.GetPlan())
				return err
			}
			return writeExplained(command.OutOrStdout(), criteria.list, explained)
		})
	}
	return command
}

// alternatives are criteria as --where and --or make them, in the order of the command line.
type alternatives struct {
	list  []*orisunpb.Criterion
	begin bool
}

type (
	whereFlag struct{ *alternatives }
	orFlag    struct{ *alternatives }
)

func (whereFlag) String() string { return "" }
func (whereFlag) Type() string   { return "key=value" }

func (w whereFlag) Set(text string) error {
	query, err := parseWhere([]string{text})
	if err != nil {
		return errors.New("it must be key=value, such as event_type=OrderPlaced")
	}
	if len(w.list) == 0 || w.begin {
		w.list = append(w.list, &orisunpb.Criterion{})
		w.begin = false
	}
	last := w.list[len(w.list)-1]
	last.Tags = append(last.Tags, query.GetCriteria()[0].GetTags()...)
	return nil
}

func (orFlag) String() string { return "" }
func (orFlag) Type() string   { return "bool" }

func (o orFlag) Set(string) error {
	if o.begin || len(o.list) == 0 {
		return errors.New("it stands between two --where")
	}
	o.begin = true
	return nil
}

func writeExplained(out io.Writer, criteria []*orisunpb.Criterion, explained *orisunpb.ExplainResponse) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text := "CRITERION\tINDEX\tEVENTS\tTHROWN AWAY\tBUFFERS\n"
	for _, scan := range explained.GetScans() {
		index := scan.GetIndex()
		if !scan.GetServed() {
			index = "none: " + index
		}
		name := "every event"
		for i, number := range scan.GetCriteria() {
			if i > 0 {
				text += name + "\t\"\t\t\t\n" // the same scan looks for it
			}
			name = formatCriterion(criteria[number-1])
		}
		text += fmt.Sprintf("%s\t%s\t%d\t%d\t%d\n", name, index, scan.GetEvents(), scan.GetFiltered(), scan.GetBuffers())
	}
	if _, err := io.WriteString(table, text); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d events, %d buffers, planned in %.2f ms, run in %.2f ms\n", explained.GetEvents(), explained.GetBuffers(), explained.GetPlanningMs(), explained.GetExecutionMs())
	return err
}

func formatCriterion(criterion *orisunpb.Criterion) string {
	tags := make([]string, len(criterion.GetTags()))
	for i, tag := range criterion.GetTags() {
		tags[i] = tag.GetKey() + "=" + tag.GetValue()
	}
	return oneLine(strings.Join(tags, " AND "))
}
