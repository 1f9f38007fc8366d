package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newTailCommand() *cobra.Command {
	var after string
	var where []string
	var asJSON bool
	command := &cobra.Command{
		Use:   "tail BOUNDARY",
		Short: "Print the events of a boundary as they come",
		Long: `Print the events of a boundary as they come, until interrupted.

A line shows an event's position (its transaction_id and global_id, as --after takes it), time in UTC, type, id and data. With --json
it is one JSON object, with the metadata.`,
		Example: `  orisun tail orders
  orisun tail orders --after start --where event_type=OrderPlaced --where customer=alice
  orisun tail orders --after 42/41 --json | jq .data`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError{errors.New("tail needs the name of one boundary, such as: orisun tail orders")}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&after, "after", "now", "where to begin: start, now, or after the position TX/GID")
	flags.StringArrayVar(&where, "where", nil, "only events whose top-level field has this value, key=value; event_type is the type; several must all hold")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: args[0]}
		var err error
		if request.AfterPosition, err = parseAfter(after); err != nil {
			return usageError{err}
		}
		if request.Query, err = parseWhere(where); err != nil {
			return usageError{err}
		}
		write := writeEventLine
		if asJSON {
			write = writeEventJSON
		}
		return tail(command, server, request, write)
	}
	return command
}

// tail prints until the command is interrupted, which is no error.
func tail(command *cobra.Command, server *connection, request *orisunpb.CatchUpSubscribeToEventStoreRequest, write func(io.Writer, *orisunpb.Event) error) (err error) {
	conn, err := server.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx := command.Context()
	stream, err := orisunpb.NewEventStoreClient(conn).CatchUpSubscribeToEvents(ctx, request)
	if err != nil {
		return explain(err)
	}
	var last *orisunpb.Position
	for {
		event, err := stream.Recv()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && last != nil:
			return fmt.Errorf("%w\ngo on with --after %s", explain(err), formatPosition(last))
		case err != nil:
			return explain(err)
		}
		if err := write(command.OutOrStdout(), event); err != nil {
			return err
		}
		last = event.GetPosition()
	}
}

// parseAfter reads --after; now is no position at all.
func parseAfter(text string) (*orisunpb.Position, error) {
	switch text {
	case "now":
		return nil, nil
	case "start":
		return &orisunpb.Position{TransactionId: -1, GlobalId: -1}, nil
	}
	transactionID, globalID, found := strings.Cut(text, "/")
	tx, txErr := strconv.ParseInt(transactionID, 10, 64)
	gid, gidErr := strconv.ParseInt(globalID, 10, 64)
	if !found || txErr != nil || gidErr != nil {
		return nil, fmt.Errorf("--after is %q: it must be start, now or a position such as 42/41", text)
	}
	return &orisunpb.Position{TransactionId: tx, GlobalId: gid}, nil
}

func formatPosition(p *orisunpb.Position) string {
	return fmt.Sprintf("%d/%d", p.GetTransactionId(), p.GetGlobalId())
}

// parseWhere makes one criterion of all --where; none is no query.
func parseWhere(where []string) (*orisunpb.Query, error) {
	if len(where) == 0 {
		return nil, nil
	}
	criterion := &orisunpb.Criterion{}
	for _, condition := range where {
		key, value, found := strings.Cut(condition, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("--where is %q: it must be key=value, such as event_type=OrderPlaced", condition)
		}
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: key, Value: value})
	}
	return &orisunpb.Query{Criteria: []*orisunpb.Criterion{criterion}}, nil
}

func writeEventLine(out io.Writer, event *orisunpb.Event) error {
	_, err := fmt.Fprintf(out, "%s  %s  %s  %s  %s\n", formatPosition(event.GetPosition()), event.GetDateCreated().AsTime().Format("2006-01-02T15:04:05.000Z"),
		printable(event.GetEventType()), printable(event.GetEventId()), printable(event.GetData()))
	return err
}

// printable escapes what speaks to the terminal instead of showing; an event's text is anybody's.
func printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
