package bench

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	orisunpb "github.com/oexza/orisun/proto"
)

// ContextKey is the field of an event's data that names the event's context.
const ContextKey = "bench_context"

// EventType is the type of all events that are saved here.
const EventType = "BenchEvent"

// dataEnd ends an event's data, whose last field is the payload.
const dataEnd = `"}`

// author writes events. It belongs to one client.
type author struct {
	random  *rand.Rand
	noise   string
	payload int
}

func (s *Session) author(client int) *author {
	return &author{random: s.random(client), noise: s.noise, payload: s.config.Payload}
}

// newNoise is a text of letters and digits that compression does not make much smaller, longer than a payload by
// variety.
func newNoise(random *rand.Rand, payload int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	const variety = 1 << 16
	noise := make([]byte, payload+variety)
	for i := range noise {
		noise[i] = letters[random.IntN(len(letters))]
	}
	return string(noise)
}

// field is a field of an event's data.
type field struct{ key, value string }

// write makes event a new one with the given fields, and a payload that fills the data up to the configured size.
func (a *author) write(event *orisunpb.EventToSave, fields ...field) {
	data := "{"
	for _, f := range fields {
		data += `"` + f.key + `":"` + f.value + `",`
	}
	data += `"payload":"`
	length := max(a.payload-len(data)-len(dataEnd), 0)
	at := a.random.IntN(len(a.noise) - length)
	event.EventId = newID()
	event.EventType = EventType
	event.Data = data + a.noise[at:at+length] + dataEnd
	event.Metadata = "{}"
}

// newID is 128 random bits, independent of the seed: an id that is already stored would make a save a retry.
func newID() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // a name, no secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // a name, no secret
	return hex.EncodeToString(id[:])
}

func newEvents(n int) []*orisunpb.EventToSave {
	events := make([]*orisunpb.EventToSave, n)
	for i := range events {
		events[i] = &orisunpb.EventToSave{}
	}
	return events
}

// nothing is the position before the first event.
func nothing() *orisunpb.Position { return &orisunpb.Position{TransactionId: -1, GlobalId: -1} }

func unconditional(boundary string, events []*orisunpb.EventToSave) *orisunpb.SaveEventsRequest {
	return &orisunpb.SaveEventsRequest{
		Boundary: boundary, Query: &orisunpb.SaveQuery{ExpectedPosition: nothing()}, Events: events,
	}
}

// about is the query for the events of one context.
func about(context string) *orisunpb.Query {
	return &orisunpb.Query{Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: ContextKey, Value: context}}}}}
}

// conditional saves if the context has no event after its last known one, nil for none.
func conditional(
	boundary, context string, last *orisunpb.Position, events []*orisunpb.EventToSave,
) *orisunpb.SaveEventsRequest {
	if last == nil {
		last = nothing()
	}
	return &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: events,
		Query: &orisunpb.SaveQuery{ExpectedPosition: last, SubsetQuery: about(context)},
	}
}
