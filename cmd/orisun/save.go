package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newSaveCommand() *cobra.Command {
	var id, eventType, data, metadata string
	var asJSON bool
	expect := positionFlag{text: "none", words: map[string]*orisunpb.Position{"none": nil}}
	command := &cobra.Command{
		Use:   "save BOUNDARY [--type TYPE [--data JSON]]",
		Short: "Save events, if the context of the decision has not changed",
		Long: `Save events in one transaction: all of them or none. With --where the save is
conditional: if an event that matches was stored after the position --expect,
nothing is saved, and the exit code is 3.

With --type it is one event. Its data are --data, else the standard input where
that is no terminal, else {}. Without --type the events come from the standard
input, as JSON objects with event_id, event_type, data and metadata: what orisun
get --json prints. Saving events again under their ids is safe.`,
		Example: `  orisun save orders --type OrderPlaced --data '{"order_id": "7"}'
  orisun save orders --type OrderPlaced < order.json
  orisun save orders --type OrderPlaced --data @order.json
  orisun save banking --type MoneyTransferred --data '{"from": "alice"}' \
    --expect 42/41 --where account=alice --or --where account=bob
  orisun get orders --all --json | orisun save orders_copy`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.StringVar(&eventType, "type", "", "the event's `TYPE`")
	flags.StringVar(&data, "data", "", "the event's data, a `JSON` object; @FILE reads a file, - the standard input")
	flags.StringVar(&metadata, "metadata", "{}", "the event's metadata, a `JSON` object; @FILE reads a file")
	flags.StringVar(&id, "id", "", "the event's `ID` (default: a random one)")
	decision := addCriteriaFlags(flags, "the context that must not have changed")
	flags.Var(&expect, "expect", "with --where, the last `POSITION` that the decision saw, such as 42/41, or none")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) (err error) {
		if flags.Changed("expect") && len(decision.list) == 0 {
			return usageError{
				errors.New("--expect needs --where: it is a position of the context that must not have changed, such as --where " +
					"order_id=7"),
			}
		}
		request := &orisunpb.SaveEventsRequest{
			Boundary: args[0], Query: &orisunpb.SaveQuery{ExpectedPosition: expect.position, Criteria: decision.list},
		}
		if err := server.prepare(command.Context()); err != nil { // a password precedes the events
			return err
		}
		if eventType == "" {
			if flags.Changed("data") || flags.Changed("metadata") || flags.Changed("id") {
				return usageError{errors.New("--data, --metadata and --id are of one event: give its --type, too")}
			}
			request.Events, err = readEvents(command)
		} else {
			event := &orisunpb.EventToSave{EventId: cmp.Or(id, rand.Text()), EventType: eventType}
			event.Data, event.Metadata, err = readDocuments(command, data, metadata)
			request.Events = []*orisunpb.EventToSave{event}
		}
		if err != nil {
			return err
		}
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			saved, err := store.SaveEvents(ctx, request)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(command.OutOrStdout(), map[string]string{"position": formatPosition(saved.GetLogPosition())})
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "saved %s, the last one at %s\n",
				counted(len(request.GetEvents()), "event", "events"), formatPosition(saved.GetLogPosition()))
			return err
		})
	}
	return command
}

// readDocuments are the data and metadata that --data and --metadata, or the standard input, give.
func readDocuments(command *cobra.Command, data, metadata string) (dataText, metadataText string, err error) {
	_, terminal := asTerminal(command.InOrStdin())
	if data == "" && !terminal {
		data = "-"
	}
	if dataText, err = readDocument(command, "--data", data); err != nil {
		return "", "", err
	}
	if metadata == "-" {
		return "", "", usageError{errors.New("--metadata is -: the standard input is for the data; @FILE reads a file")}
	}
	metadataText, err = readDocument(command, "--metadata", metadata)
	return dataText, metadataText, err
}

func readDocument(command *cobra.Command, flag, value string) (string, error) {
	text := []byte(value)
	var err error
	if file, isFile := strings.CutPrefix(value, "@"); isFile {
		if text, err = os.ReadFile(file); err != nil {
			return "", usageError{fmt.Errorf("%s: %w", flag, err)}
		}
	} else if value == "-" {
		if text, err = readAll(command, "the event's data, a JSON object"); err != nil {
			return "", err
		}
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "{}", nil
	}
	return string(text), nil
}

// readAll reads the standard input, until an interrupt at most. In a terminal it prints what it waits for.
func readAll(command *cobra.Command, what string) ([]byte, error) {
	in := command.InOrStdin()
	if _, terminal := asTerminal(in); terminal {
		if _, err := fmt.Fprintf(command.ErrOrStderr(), "reading %s; Ctrl-D ends, Ctrl-C saves nothing\n", what); err != nil {
			return nil, err
		}
	}
	return interruptible(command.Context(), func() ([]byte, error) { return io.ReadAll(in) })
}

// savedEvent is an event as save reads it and other commands print it.
type savedEvent struct {
	Position    json.RawMessage `json:"position"` // ignored: a saved event gets a new position
	DateCreated json.RawMessage `json:"date_created"`
	EventID     string          `json:"event_id"`
	EventType   string          `json:"event_type"`
	Data        json.RawMessage `json:"data"`
	Metadata    json.RawMessage `json:"metadata"`
}

// readEvents reads JSON objects until the input ends. Data and metadata are objects, or texts that hold one. Numbers
// do not change.
func readEvents(command *cobra.Command) ([]*orisunpb.EventToSave, error) {
	text, err := readAll(command, "events, JSON objects with event_id, event_type, data and metadata")
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var events []*orisunpb.EventToSave
	for {
		var event savedEvent
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) && len(events) > 0 {
			return events, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, usageError{
				errors.New("the standard input holds no event: give JSON objects with event_id, event_type, data and metadata, " +
					"or one event with --type and --data"),
			}
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("event %d of the standard input: %w", len(events)+1, err)}
		}
		events = append(events, &orisunpb.EventToSave{
			EventId: cmp.Or(event.EventID, rand.Text()), EventType: event.EventType, Data: documentText(event.Data),
			Metadata: documentText(event.Metadata),
		})
	}
}

// documentText is a JSON value as text. Of a string it is the content.
func documentText(value json.RawMessage) string {
	var text string
	if bytes.HasPrefix(value, []byte(`"`)) && json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}
