package publisher

import (
	"sort"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	orisunpb "github.com/oexza/orisun/proto"
)

// position orders the events of a boundary: by global_id, which is the order by pairs as well.
type position struct{ transactionID, globalID int64 }

// beginning lies before every event.
var beginning = position{-1, -1}

func positionOf(p *orisunpb.Position) position {
	return position{p.GetTransactionId(), p.GetGlobalId()}
}

func (p position) before(q position) bool {
	if p.transactionID != q.transactionID {
		return p.transactionID < q.transactionID
	}
	return p.globalID < q.globalID
}

// entry is an event in the ring. It never changes, but for the count of its spans, and is shared by all subscribers.
type entry struct {
	at     position
	event  *orisunpb.Event // nil where only PostgreSQL has it
	fields fields
	size   int

	published *trace.SpanContext // nil without sampling
	traced    atomic.Int32       // deliveries that have a span
}

// entryOverhead is what an entry takes beside the texts of its event: the entry, the event, its position and time, the
// slot in the ring.
const entryOverhead = 512

func newEntry(event *orisunpb.Event) *entry {
	e := &entry{at: positionOf(event.GetPosition()), size: entryOverhead}
	if event.GetData() != "" {
		e.event = event
		e.size += len(event.GetData()) + len(event.GetMetadata()) + len(event.GetEventId()) + len(event.GetEventType()) +
			fieldsSize(event.GetData())
	}
	return e
}

// ring holds the latest events of a boundary without a gap: all that lie after start and not after end. It is not safe
// for concurrent use.
//
// An event that does not connect to the end (the message names the event before it) empties the ring, which begins
// again with it: what lies between is in PostgreSQL. So whatever happens to the stream, the ring is never wrong, only
// short.
type ring struct {
	maxEvents, maxBytes int

	entries    []*entry
	bytes      int
	start, end position
}

func newRing(maxEvents, maxBytes int) ring {
	return ring{maxEvents: maxEvents, maxBytes: maxBytes, start: beginning, end: beginning}
}

// add appends an event whose predecessor in the boundary has the global_id previous. It reports whether the ring took
// it: an event that it had before changes nothing.
func (r *ring) add(e *entry, previous int64) bool {
	if !r.end.before(e.at) {
		return false
	}
	if previous != r.end.globalID {
		// The predecessor's transaction_id is unknown, but not above that of its successor.
		start := position{e.at.transactionID, previous}
		if previous == NoPrevious {
			start = beginning
		}
		r.begin(start)
	}
	r.entries = append(r.entries, e)
	r.bytes += e.size
	r.end = e.at
	for len(r.entries) > r.maxEvents || r.bytes > r.maxBytes {
		r.start = r.entries[0].at
		r.bytes -= r.entries[0].size
		r.entries[0] = nil
		r.entries = r.entries[1:]
	}
	return true
}

// begin empties the ring, which is complete after start from then on.
func (r *ring) begin(start position) {
	clear(r.entries)
	r.entries, r.bytes = nil, 0
	r.start, r.end = start, start
}

// holds reports whether every event after p, up to the ring's end, is in the ring.
func (r *ring) holds(p position) bool { return !p.before(r.start) }

// after is the first entry after p, or nil. It makes sense only where the ring holds(p).
func (r *ring) after(p position) *entry {
	if !p.before(r.end) || len(r.entries) == 0 {
		return nil
	}
	// Positions have no gaps as a rule: mostly this is the place.
	if i := p.globalID - r.entries[0].at.globalID; i >= 0 && i < int64(len(r.entries))-1 && r.entries[i].at == p {
		return r.entries[i+1]
	}
	return r.entries[sort.Search(len(r.entries), func(i int) bool { return p.before(r.entries[i].at) })]
}
