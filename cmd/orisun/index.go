package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	orisunpb "github.com/oexza/orisun/proto"
)

func newIndexCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "index",
		Short: "Create, drop and list a boundary's indexes, and tell which are missing",
	}
	command.AddCommand(newIndexCreateCommand(), newIndexDropCommand(), newIndexListCommand(), newIndexAdviseCommand())
	return command
}

// withEventStore gives a command the client of the server that its flags name.
func withEventStore(server *connection, do func(orisunpb.EventStoreClient) error) (err error) {
	conn, err := server.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return do(orisunpb.NewEventStoreClient(conn))
}

// exactly refuses any other number of arguments than the ones named.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) != len(names) || slices.Contains(args, "") {
			return usageError{fmt.Errorf("%s needs %s, such as: %s", command.CommandPath(), strings.Join(names, " and "), strings.TrimSpace(strings.SplitN(command.Example, "\n", 2)[0]))}
		}
		return nil
	}
}

func newIndexCreateCommand() *cobra.Command {
	var fields, where []string
	var either bool
	command := &cobra.Command{
		Use:   "create BOUNDARY NAME --field KEY[:TYPE]...",
		Short: "Create an index and wait until it is ready",
		Long: `Create an index and wait until it is ready. Saves go on meanwhile; an interrupted build leaves nothing.

It serves criteria that have a tag for each of its fields. With --where it holds only the events for which these conditions hold, and serves only
criteria that fulfil them. The types NUMERIC, BOOLEAN and TIMESTAMPTZ serve those tags whose value is one.`,
		Example: `  orisun index create orders user_id --field user_id
  orisun index create orders category_priority --field category --field priority
  orisun index create orders placed_amount --field amount:NUMERIC --where eventType=OrderPlaced`,
		Args: exactly("BOUNDARY", "NAME"),
	}
	flags := command.Flags()
	flags.StringArrayVar(&fields, "field", nil, "a field, as the key of a tag (event_type is the type), and its type: TEXT (the default), NUMERIC, BOOLEAN or TIMESTAMPTZ")
	flags.StringArrayVar(&where, "where", nil, "a condition such as eventType=OrderPlaced or amount>=10; several must all hold")
	flags.BoolVar(&either, "any", false, "of several conditions, one suffices")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &orisunpb.CreateIndexRequest{Boundary: args[0], Name: args[1]}
		for _, text := range fields {
			request.Fields = append(request.Fields, parseField(text))
		}
		for _, text := range where {
			condition, err := parseCondition(text)
			if err != nil {
				return usageError{err}
			}
			request.Conditions = append(request.Conditions, condition)
		}
		if either {
			request.ConditionCombinator = orisunpb.ConditionCombinator_OR
		}
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			return createIndex(command.Context(), store, request, newProgress(command.ErrOrStderr()))
		})
	}
	return command
}

// parseField reads KEY[:TYPE]; what stands behind the last colon is a type only if it is the name of one.
func parseField(text string) *orisunpb.IndexField {
	if at := strings.LastIndexByte(text, ':'); at > 0 {
		if kind, found := orisunpb.ValueType_value[strings.ToUpper(text[at+1:])]; found {
			return &orisunpb.IndexField{JsonKey: text[:at], ValueType: orisunpb.ValueType(kind)}
		}
	}
	return &orisunpb.IndexField{JsonKey: text}
}

func parseCondition(text string) (*orisunpb.IndexCondition, error) {
	at := strings.IndexAny(text, "=<>")
	if at <= 0 {
		return nil, fmt.Errorf("--where is %q: it must be a key, one of = > < >= <= and a value, such as amount>=10", text)
	}
	operator := text[at : at+1]
	if operator != "=" && strings.HasPrefix(text[at+1:], "=") {
		operator = text[at : at+2]
	}
	return &orisunpb.IndexCondition{Key: text[:at], Operator: operator, Value: text[at+len(operator):]}, nil
}

// progressPoll is how often a build is asked how far it is.
const progressPoll = 300 * time.Millisecond

// createIndex waits for the index and shows how far it is.
func createIndex(ctx context.Context, store orisunpb.EventStoreClient, request *orisunpb.CreateIndexRequest, progress *progress) error {
	start := time.Now()
	created := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(ctx, request)
		created <- err
	}()
	for poll := time.NewTicker(progressPoll); ; {
		select {
		case err := <-created:
			poll.Stop()
			progress.clear()
			if ctx.Err() != nil {
				return errors.New("interrupted: the server gives the build up and removes what there is of it")
			}
			if err != nil {
				return explain(err)
			}
			progress.write(fmt.Sprintf("index %s of boundary %s is ready after %s\n", request.GetName(), request.GetBoundary(), time.Since(start).Round(time.Millisecond)))
			return progress.err
		case <-poll.C:
			got, err := store.GetIndex(ctx, &orisunpb.GetIndexRequest{Boundary: request.GetBoundary(), Name: request.GetName()})
			switch {
			case status.Code(err) == codes.NotFound:
				progress.show("waiting for another index of the boundary")
			case err == nil && got.GetIndex().GetState() == orisunpb.IndexState_INDEX_STATE_READY:
				progress.show("collecting statistics")
			case err == nil:
				at := got.GetIndex().GetProgress()
				progress.show(fmt.Sprintf("%s %d%%", cmp.Or(at.GetPhase(), "beginning"), at.GetPercent()))
			} // another error is that of CreateIndex, too, which tells it
		}
	}
}

// progress is a line that changes in a terminal, and one line for each phase elsewhere. What it cannot show stops no build: err keeps it.
type progress struct {
	out      io.Writer
	terminal bool
	shown    string
	err      error
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) show(text string) {
	if p.terminal {
		p.write("\r\x1b[K" + text)
		p.shown = text
		return
	}
	if phase := strings.TrimRight(text, " 0123456789%"); phase != p.shown {
		p.write(phase + "\n")
		p.shown = phase
	}
}

func (p *progress) clear() {
	if p.terminal && p.shown != "" {
		p.write("\r\x1b[K")
	}
}

func (p *progress) write(text string) {
	if _, err := io.WriteString(p.out, text); p.err == nil {
		p.err = err
	}
}

func newIndexDropCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "drop BOUNDARY NAME",
		Short:   "Drop an index; what it served is answered all the same, more slowly",
		Example: `  orisun index drop orders user_id`,
		Args:    exactly("BOUNDARY", "NAME"),
	}
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			if _, err := store.DropIndex(command.Context(), &orisunpb.DropIndexRequest{Boundary: args[0], Name: args[1]}); err != nil {
				return explain(err)
			}
			return nil
		})
	}
	return command
}

// newIndexListing is a command that shows something of ListIndexes.
func newIndexListing(command *cobra.Command, write func(io.Writer, string, *orisunpb.ListIndexesResponse) error) *cobra.Command {
	var asJSON bool
	command.Args = exactly("BOUNDARY")
	command.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as JSON")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			list, err := store.ListIndexes(command.Context(), &orisunpb.ListIndexesRequest{Boundary: args[0]})
			if err != nil {
				return explain(err)
			}
			if asJSON {
				_, err := fmt.Fprintln(command.OutOrStdout(), protojson.Format(list))
				return err
			}
			return write(command.OutOrStdout(), args[0], list)
		})
	}
	return command
}

func newIndexListCommand() *cobra.Command {
	return newIndexListing(&cobra.Command{
		Use:     "list BOUNDARY",
		Short:   "List a boundary's indexes and how much they are used",
		Example: `  orisun index list orders`,
	}, writeIndexes)
}

func writeIndexes(out io.Writer, _ string, list *orisunpb.ListIndexesResponse) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text := "NAME\tFIELDS\tCONDITIONS\tSTATE\tUSED\tSIZE\n"
	for i, index := range list.GetIndexes() {
		fields := make([]string, len(index.GetFields()))
		for j, field := range index.GetFields() {
			fields[j] = formatField(field)
		}
		conditions := make([]string, len(index.GetConditions()))
		for j, condition := range index.GetConditions() {
			conditions[j] = condition.GetKey() + condition.GetOperator() + condition.GetValue()
		}
		state := strings.TrimPrefix(index.GetState().String(), "INDEX_STATE_")
		if progress := index.GetProgress(); progress.GetPhase() != "" {
			state += fmt.Sprintf(" (%s %d%%)", progress.GetPhase(), progress.GetPercent())
		}
		usage := list.GetUsage()[i]
		text += fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%s\n", index.GetName(), oneLine(strings.Join(fields, ", ")),
			oneLine(cmp.Or(strings.Join(conditions, " "+index.GetConditionCombinator().String()+" "), "-")), state, usage.GetScans(), formatBytes(usage.GetSizeBytes()))
	}
	if _, err := io.WriteString(table, text); err != nil {
		return err
	}
	return table.Flush()
}

func formatField(field *orisunpb.IndexField) string {
	if field.GetValueType() == orisunpb.ValueType_TEXT {
		return field.GetJsonKey()
	}
	return field.GetJsonKey() + ":" + field.GetValueType().String()
}

func formatBytes(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "kB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func newIndexAdviseCommand() *cobra.Command {
	return newIndexListing(&cobra.Command{
		Use:   "advise BOUNDARY",
		Short: "Tell which indexes are missing, and which nobody uses, with the commands to copy",
		Long: `Tell which indexes are missing, and which nobody uses, with the commands to copy.

Missing is what criteria asked for, since this node started, that no index serves: all events are read for them. Unused is what PostgreSQL has not
used since its statistics were reset; every save pays for it.`,
		Example: `  orisun index advise orders`,
	}, writeAdvice)
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
