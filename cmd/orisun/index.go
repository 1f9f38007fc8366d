package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/nearest"
)

func newIndexCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "index",
		Short: "Create, drop and list a boundary's indexes, and advise on them",
	}
	command.AddCommand(newIndexCreateCommand(), newIndexDropCommand(), newIndexListCommand(), newIndexAdviseCommand())
	return command
}

func newIndexCreateCommand() *cobra.Command {
	request := &orisunpb.CreateIndexRequest{}
	var either bool
	command := &cobra.Command{
		Use:   "create BOUNDARY NAME --field KEY[:TYPE]...",
		Short: "Create an index and wait until it is ready",
		Long: `Create an index and wait until it is ready. Saves go on meanwhile, and an
interrupted build leaves nothing.

It serves criteria that have a tag for each of its fields. With --where it holds
only the events for which these conditions hold, and serves only criteria that
fulfil them. The types NUMERIC, BOOLEAN and TIMESTAMPTZ serve those tags whose
value is one.`,
		Example: `  orisun index create orders user_id --field user_id
  orisun index create orders category_priority --field category --field priority
  orisun index create orders placed_amount --field amount:NUMERIC \
    --where event_type=OrderPlaced`,
		Args: exactly("BOUNDARY", "NAME"),
	}
	flags := command.Flags()
	flags.Func("field", "a `KEY[:TYPE]`: the key of a tag (event_type is the type) and TEXT (the default), NUMERIC, "+
		"BOOLEAN or TIMESTAMPTZ", func(text string) error {
		field, err := parseField(text)
		request.Fields = append(request.Fields, field)
		return err
	})
	flags.Func("where", "a `CONDITION` such as event_type=OrderPlaced or amount>=10; several must all hold",
		func(text string) error {
			condition, err := parseCondition(text)
			request.Conditions = append(request.Conditions, condition)
			return err
		})
	flags.BoolVar(&either, "any", false, "of several conditions, one suffices")
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		request.Boundary, request.Name = args[0], args[1]
		if either {
			request.ConditionCombinator = orisunpb.ConditionCombinator_OR
		}
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			return createIndex(ctx, store, request, newProgress(command.ErrOrStderr()))
		})
	}
	return command
}

// otherTypes are names of types in other systems, with their names here.
var otherTypes = map[string]string{
	"STRING": "TEXT", "VARCHAR": "TEXT", "UUID": "TEXT",
	"INT": "NUMERIC", "INTEGER": "NUMERIC", "BIGINT": "NUMERIC", "NUMBER": "NUMERIC", "DECIMAL": "NUMERIC",
	"FLOAT": "NUMERIC", "DOUBLE": "NUMERIC",
	"BOOL": "BOOLEAN", "TIMESTAMP": "TIMESTAMPTZ", "DATETIME": "TIMESTAMPTZ", "DATE": "TIMESTAMPTZ", "TIME": "TIMESTAMPTZ",
}

// parseField reads KEY[:TYPE]. The text after the last colon is a type: a key that holds a colon needs one.
func parseField(text string) (*orisunpb.IndexField, error) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return &orisunpb.IndexField{JsonKey: text}, refuseSpaces(text, "", "")
	}
	key, name := text[:at], strings.ToUpper(text[at+1:])
	if kind, found := orisunpb.ValueType_value[name]; found {
		return &orisunpb.IndexField{JsonKey: key, ValueType: orisunpb.ValueType(kind)}, refuseSpaces(key, ":", name)
	}
	types := []string{"TEXT", "NUMERIC", "BOOLEAN", "TIMESTAMPTZ"}
	meant, found := otherTypes[name]
	if !found {
		meant, found = nearest.Name(name, types)
	}
	if !found {
		meant = "TEXT"
	}
	return nil, fmt.Errorf("the type %q is none of %s: write %s:%s, or %s:TEXT if the key itself holds the colon",
		text[at+1:], strings.Join(types, ", "), key, meant, text)
}

func parseCondition(text string) (*orisunpb.IndexCondition, error) {
	at := strings.IndexAny(text, "=<>")
	if at <= 0 {
		return nil, errors.New("it must be a key, one of = > < >= <= and a value, such as amount>=10")
	}
	operator := text[at : at+1]
	if operator != "=" && strings.HasPrefix(text[at+1:], "=") {
		operator = text[at : at+2]
	}
	condition := &orisunpb.IndexCondition{Key: text[:at], Operator: operator, Value: text[at+len(operator):]}
	return condition, refuseSpaces(condition.GetKey(), operator, condition.GetValue())
}

// progressPoll is how often the progress of a build is read.
const progressPoll = 300 * time.Millisecond

// createIndex waits for the index and shows the progress of the build.
func createIndex(
	ctx context.Context, store orisunpb.EventStoreClient, request *orisunpb.CreateIndexRequest, progress *progress,
) error {
	start := time.Now()
	created := make(chan error, 1)
	var answer *orisunpb.CreateIndexResponse
	go func() {
		var err error
		answer, err = store.CreateIndex(ctx, request)
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
				return err
			}
			progress.write(fmt.Sprintf("index %s of boundary %s is ready after %s\n",
				request.GetName(), request.GetBoundary(), time.Since(start).Round(time.Millisecond)))
			progress.write(warningLines(answer.GetWarnings()))
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
			} // CreateIndex reports the other errors, too
		}
	}
}

// progress is a line that changes in a terminal, and one line for each phase elsewhere. A failed output does not stop
// a build: err stores it.
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
		Use:        "drop BOUNDARY NAME",
		Short:      "Drop an index; queries that used it get slower",
		Example:    `  orisun index drop orders user_id`,
		SuggestFor: []string{"delete", "remove", "rm"},
		Args:       exactly("BOUNDARY", "NAME"),
	}
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, indexNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			if _, err := store.DropIndex(ctx, &orisunpb.DropIndexRequest{Boundary: args[0], Name: args[1]}); err != nil {
				return err
			}
			_, err := fmt.Fprintf(command.OutOrStdout(), "dropped index %s of boundary %s\n", args[1], args[0])
			return err
		})
	}
	return command
}

func newIndexListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "list BOUNDARY",
		Short:   "List a boundary's indexes and how much they are used",
		Example: `  orisun index list orders`,
		Args:    exactly("BOUNDARY"),
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			list, err := store.ListIndexes(ctx, &orisunpb.ListIndexesRequest{Boundary: args[0]})
			if err != nil {
				return err
			}
			if asJSON {
				return writeIndexesJSON(command.OutOrStdout(), list)
			}
			return writeIndexes(command.OutOrStdout(), list)
		})
	}
	return command
}

// writeIndexesJSON writes each index with its usage.
func writeIndexesJSON(out io.Writer, list *orisunpb.ListIndexesResponse) error {
	for i, index := range list.GetIndexes() {
		object := messageJSON(index)
		maps.Copy(object, messageJSON(list.GetUsage()[i]))
		if err := writeJSON(out, object); err != nil {
			return err
		}
	}
	return nil
}

func writeIndexes(out io.Writer, list *orisunpb.ListIndexesResponse) error {
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
			oneLine(cmp.Or(strings.Join(conditions, " "+index.GetConditionCombinator().String()+" "), "-")), state,
			usage.GetScans(), formatBytes(usage.GetSizeBytes()))
	}
	return writeTable(out, text)
}

// formatField is the inverse of parseField.
func formatField(field *orisunpb.IndexField) string {
	if field.GetValueType() == orisunpb.ValueType_TEXT && !strings.Contains(field.GetJsonKey(), ":") {
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
