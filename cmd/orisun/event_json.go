package main

import (
	"cmp"
	"encoding/json"
	"io"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// eventJSON is an event as commands print it with --json, and as save reads it.
type eventJSON struct {
	Position    *positionJSON   `json:"position,omitempty"`
	DateCreated *time.Time      `json:"date_created,omitempty"`
	EventID     string          `json:"event_id"`
	EventType   string          `json:"event_type"`
	Data        json.RawMessage `json:"data"`
	Metadata    json.RawMessage `json:"metadata"`
}

type positionJSON struct {
	TransactionID int64 `json:"transaction_id"`
	GlobalID      int64 `json:"global_id"`
}

func toPositionJSON(p *orisunpb.Position) positionJSON {
	return positionJSON{p.GetTransactionId(), p.GetGlobalId()}
}

// toEventJSON is nil for no event.
func toEventJSON(event *orisunpb.Event) *eventJSON {
	if event == nil {
		return nil
	}
	at, created := toPositionJSON(event.GetPosition()), event.GetDateCreated().AsTime()
	return &eventJSON{
		Position: &at, DateCreated: &created, EventID: event.GetEventId(), EventType: event.GetEventType(),
		Data: json.RawMessage(event.GetData()), Metadata: json.RawMessage(cmp.Or(event.GetMetadata(), "{}")),
	}
}

// writeOneJSON writes a document on a line of its own.
func writeOneJSON(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document)
}

func writeEventJSON(out io.Writer, event *orisunpb.Event) error {
	return writeOneJSON(out, toEventJSON(event))
}
