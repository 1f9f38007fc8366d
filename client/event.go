package client

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// Event is a stored event.
type Event struct {
	// ID is unique in the boundary.
	ID   string
	Type string
	// Data and Metadata are JSON objects, as PostgreSQL prints jsonb.
	Data, Metadata json.RawMessage
	Position       Position
	// SavedAt is the time of PostgreSQL's clock.
	SavedAt time.Time
}

// Decode unmarshals the event's data into v. Numbers beyond 2^53 need an integer type or json.Number there, not a
// float.
func (e Event) Decode(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("decode the data of event %s (%s): %w", e.ID, e.Type, err)
	}
	return nil
}

func eventFrom(e *wire.Event) Event {
	return Event{
		ID: e.GetEventId(), Type: e.GetEventType(), Data: json.RawMessage(e.GetData()),
		Metadata: json.RawMessage(e.GetMetadata()), Position: positionFrom(e.GetPosition()),
		SavedAt: e.GetDateCreated().AsTime(),
	}
}

// NewEvent is an event to save.
type NewEvent struct {
	// ID is unique in the boundary. If it is empty, the client makes a random one: one for a save with all its retries,
	// and one for a decision with all its attempts. An ID that comes from the command, such as a request's id, makes
	// the command idempotent across restarts of the program.
	ID   string
	Type string
	// Data is marshalled to JSON, which must be an object; a json.RawMessage or a []byte is JSON already. Nil is {}.
	Data any
	// Metadata is as Data.
	Metadata any
}

// One returns one event to save, for a decision that has no other.
func One(eventType string, data any) []NewEvent { return []NewEvent{{Type: eventType, Data: data}} }

func (e NewEvent) wire() (*wire.EventToSave, error) {
	data, err := marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: marshal the data of a %s: %w", ErrInvalid, e.Type, err)
	}
	metadata, err := marshal(e.Metadata)
	if err != nil {
		return nil, fmt.Errorf("%w: marshal the metadata of a %s: %w", ErrInvalid, e.Type, err)
	}
	id := e.ID
	if id == "" {
		id = newID(time.Now())
	}
	return &wire.EventToSave{EventId: id, EventType: e.Type, Data: data, Metadata: metadata}, nil
}

func marshal(v any) (string, error) {
	var text []byte
	var err error
	switch v := v.(type) {
	case json.RawMessage:
		text = v
	case []byte:
		text = v
	default:
		text, err = json.Marshal(v)
	}
	if text == nil || string(text) == "null" { // nil of any type
		text = []byte("{}")
	}
	return string(text), err
}

// newID is a UUID of version 7: ids made one after the other stand together in the index of ids.
func newID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[6:]) // never fails
	binary.BigEndian.PutUint32(id[:], uint32(now.UnixMilli()>>16))
	binary.BigEndian.PutUint16(id[4:], uint16(now.UnixMilli()))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
