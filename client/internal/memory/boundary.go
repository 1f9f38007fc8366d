package memory

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/client/internal/wire"
)

// boundary is the log of one boundary. Its rules are those of the protocol.
type boundary struct {
	mu      sync.Mutex
	events  []*stored // by global_id
	byID    map[string]*stored
	changed chan struct{} // closed when events come
}

type stored struct {
	event *wire.Event
	data  document
}

func newBoundary() *boundary {
	return &boundary{byID: map[string]*stored{}, changed: make(chan struct{})}
}

func none() *wire.Position { return &wire.Position{TransactionId: -1, GlobalId: -1} }

func isNone(p *wire.Position) bool {
	return p == nil || p.GetTransactionId() == p.GetGlobalId() && (p.GetGlobalId() == -1 || p.GetGlobalId() == 0)
}

// before compares positions as pairs.
func before(a, b *wire.Position) bool {
	if a.GetTransactionId() != b.GetTransactionId() {
		return a.GetTransactionId() < b.GetTransactionId()
	}
	return a.GetGlobalId() < b.GetGlobalId()
}

// matches says whether one of the criteria matches the event.
func (s *stored) matches(criteria []*wire.Criterion) bool {
	return slices.ContainsFunc(criteria, func(c *wire.Criterion) bool {
		return !slices.ContainsFunc(c.GetTags(), func(tag *wire.Tag) bool {
			if tag.GetKey() == "event_type" || tag.GetKey() == "eventType" {
				return s.event.GetEventType() != tag.GetValue()
			}
			value, has := s.data.fields[tag.GetKey()]
			return !has || value != tag.GetValue()
		})
	})
}

func matchesQuery(s *stored, query *wire.Query) bool {
	return len(query.GetCriteria()) == 0 || s.matches(query.GetCriteria())
}

type outcome int

const (
	saved outcome = iota
	contextChanged
	eventIDReused
)

// save decides a save and stores it. The position is that of the last event of the save, of the conflicting event, or
// of the event that has the id.
func (b *boundary) save(query *wire.SaveQuery, events []*stored) (outcome, *wire.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.known(events); known != nil {
		return b.repeated(known, events)
	}
	criteria := query.GetCriteria()
	if query.GetSubsetQuery() != nil {
		criteria = slices.Concat(criteria, query.GetSubsetQuery().GetCriteria())
		if len(query.GetSubsetQuery().GetCriteria()) == 0 {
			criteria = []*wire.Criterion{{}}
		}
	}
	if len(criteria) > 0 {
		expected := query.GetExpectedPosition()
		if isNone(expected) {
			expected = none()
		} else if !b.has(expected) {
			return contextChanged, none()
		}
		for _, s := range slices.Backward(b.events) {
			if !before(expected, s.event.GetPosition()) {
				break
			}
			if s.matches(criteria) {
				return contextChanged, s.event.GetPosition()
			}
		}
	}
	now, transaction := timestamppb.New(time.Now()), int64(len(b.events)+len(events))
	for _, s := range events {
		s.event.Position = &wire.Position{TransactionId: transaction, GlobalId: int64(len(b.events))}
		s.event.DateCreated = now
		b.events, b.byID[s.event.GetEventId()] = append(b.events, s), s
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return saved, events[len(events)-1].event.GetPosition()
}

// known is the last stored event whose id is one of the save.
func (b *boundary) known(events []*stored) (last *stored) {
	for _, s := range events {
		if k := b.byID[s.event.GetEventId()]; k != nil &&
			(last == nil || before(last.event.GetPosition(), k.event.GetPosition())) {
			last = k
		}
	}
	return last
}

// repeated says whether the save is the one that stored the event known, as a whole.
func (b *boundary) repeated(known *stored, events []*stored) (outcome, *wire.Position) {
	at := known.event.GetPosition()
	first := at.GetTransactionId() - int64(len(events))
	whole := first >= 0 &&
		(first == 0 || b.events[first-1].event.GetPosition().GetTransactionId() != at.GetTransactionId())
	for i, s := range events {
		whole = whole && b.events[first+int64(i)].sameAs(s) &&
			b.events[first+int64(i)].event.GetPosition().GetTransactionId() == at.GetTransactionId()
	}
	if whole {
		return saved, b.events[at.GetTransactionId()-1].event.GetPosition()
	}
	return eventIDReused, at
}

func (s *stored) sameAs(other *stored) bool {
	return s.event.GetEventId() == other.event.GetEventId() && s.event.GetEventType() == other.event.GetEventType() &&
		s.data.text == other.data.text
}

func (b *boundary) has(p *wire.Position) bool {
	return p.GetGlobalId() >= 0 && p.GetGlobalId() < int64(len(b.events)) &&
		proto.Equal(b.events[p.GetGlobalId()].event.GetPosition(), p)
}

// page returns the events of a page.
func (b *boundary) page(in *wire.GetEventsRequest, count int) []*wire.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events, past := slices.All(b.events), before
	if in.GetDirection() == wire.Direction_DESC {
		events, past = slices.Backward(b.events), func(a, b *wire.Position) bool { return before(b, a) }
	}
	from, after := in.GetFromPosition(), in.GetAfterPosition()
	var page []*wire.Event
	for _, s := range events {
		at := s.event.GetPosition()
		if from != nil && past(at, from) || after != nil && !past(after, at) || !matchesQuery(s, in.GetQuery()) {
			continue
		}
		if page = append(page, s.event); len(page) == count {
			break
		}
	}
	return page
}

// latest returns the latest event of each criterion, from one snapshot.
func (b *boundary) latest(criteria []*wire.Criterion) *wire.GetLatestByCriteriaResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := &wire.GetLatestByCriteriaResponse{ContextPosition: none()}
	for _, criterion := range criteria {
		result := &wire.LatestCriterionResult{Criterion: criterion}
		for _, s := range slices.Backward(b.events) {
			if s.matches([]*wire.Criterion{criterion}) {
				result.Event = s.event
				if before(out.GetContextPosition(), s.event.GetPosition()) {
					out.ContextPosition = s.event.GetPosition()
				}
				break
			}
		}
		out.Results = append(out.Results, result)
	}
	return out
}

// since returns the events from a global_id on, and a channel that is closed when more come.
func (b *boundary) since(globalID int64) ([]*stored, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.events[min(max(globalID, 0), int64(len(b.events))):], b.changed
}
