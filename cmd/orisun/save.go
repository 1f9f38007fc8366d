package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newSaveCommand() *cobra.Command {
	var criteria alternatives
	var expect, id, eventType, data, metadata string
	var asJSON bool
	command := &cobra.Command{
		Use:   "save BOUNDARY [--type TYPE --data JSON]",
		Short: "Save events, if what the decision rests on still holds",
		Long: `Save events in one transaction: all of them or none. With --where the save is conditional: if an event that matches was stored after the
position --expect, nothing is saved, and the exit code is 3.

Without --type the events come from the standard input, as JSON objects with event_id, event_type, data and metadata: what orisun get --json prints. Saving the same
events again is safe.`,
		Example: `  orisun save orders --type OrderPlaced --data '{"order_id": "7"}'
  orisun save banking --type MoneyTransferred --data '{"from": "alice"}' --expect 42/41 --where account_holder=alice --or --where account_holder=bob
  orisun get orders --json | orisun save orders_copy`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.StringVar(&eventType, "type", "", "the event's type")
	flags.StringVar(&data, "data", "{}", "the event's data, a JSON object")
	flags.StringVar(&metadata, "metadata", "{}", "the event's metadata, a JSON object")
	flags.StringVar(&id, "id", "", "the event's id; a random one if none is given")
	flags.Var(whereFlag{&criteria}, "where", "key=value: a tag of a criterion of the context; event_type is the type; several must all hold")
	flags.Var(orFlag{&criteria}, "or", "begin another criterion")
	flags.Lookup("or").NoOptDefVal = "true"
	flags.StringVar(&expect, "expect", "none", "the last position that the decision saw, TX/GID, or none")
	flags.BoolVar(&asJSON, "json", false, "print the position as JSON")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &orisunpb.SaveEventsRequest{Boundary: args[0], Query: &orisunpb.SaveQuery{Criteria: criteria.list}}
		if expect != "none" {
			position, err := parseAfter(expect)
			if err != nil || position == nil {
				return usageError{fmt.Errorf("--expect is %q: it must be none or a position such as 42/41", expect)}
			}
			request.Query.ExpectedPosition = position
		}
		if eventType != "" {
			request.Events = []*orisunpb.EventToSave{{EventId: cmp.Or(id, rand.Text()), EventType: eventType, Data: data, Metadata: metadata}}
		} else {
			if flags.Changed("data") || flags.Changed("metadata") || flags.Changed("id") {
				return usageError{errors.New("--data, --metadata and --id are those of one event: give its --type too")}
			}
			var err error
			if request.Events, err = readEvents(command.InOrStdin()); err != nil {
				return usageError{err}
			}
		}
		return withEventStore(server, func(store orisunpb.EventStoreClient) error {
			saved, err := store.SaveEvents(command.Context(), request)
			if err != nil {
				return explain(err)
			}
			if asJSON {
				return writeOneJSON(command.OutOrStdout(), struct {
					Position positionJSON `json:"position"`
				}{toPositionJSON(saved.GetLogPosition())})
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "saved %d, the last one at %s\n", len(request.GetEvents()), formatPosition(saved.GetLogPosition()))
			return err
		})
	}
	return command
}

// readEvents reads JSON objects until the input ends. Data and metadata are objects, or texts that hold one; numbers stay as they are written.
func readEvents(in io.Reader) ([]*orisunpb.EventToSave, error) {
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	var events []*orisunpb.EventToSave
	for {
		var event eventJSON
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("event %d of the standard input: %w", len(events)+1, err)
		}
		events = append(events, &orisunpb.EventToSave{
			EventId: cmp.Or(event.EventID, rand.Text()), EventType: event.EventType, Data: documentText(event.Data), Metadata: documentText(event.Metadata),
		})
	}
}

// documentText is a JSON value as text; of a string, what it holds.
func documentText(value json.RawMessage) string {
	var text string
	if bytes.HasPrefix(value, []byte(`"`)) && json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}
