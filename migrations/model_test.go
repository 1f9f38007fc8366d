package migrations_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
)

// model is a boundary as plain Go: a list of events, and requests taken one after the other.
type model struct{ events []stored }

type stored struct {
	event
	fields map[string]string // what data->>key is, without the nulls
	at     position
}

func (e stored) matches(c criterion) bool {
	for _, tag := range c {
		value, found := e.fields[tag.Key]
		if tag.Key == "event_type" || tag.Key == "eventType" {
			value, found = e.eventType, true
		}
		if !found || value != tag.Value {
			return false
		}
	}
	return true
}

func (e stored) matchesOne(criteria []criterion) bool {
	return len(criteria) == 0 || slices.ContainsFunc(criteria, e.matches)
}

// save takes the requests of one call and answers what the database should.
func (m *model) save(requests []drawnRequest) (results []db.OrisunSaveResult) {
	before := len(m.events)
	for i, r := range requests {
		outcome, at := m.saveOne(r, before)
		results = append(results, db.OrisunSaveResult{Request: int32(i + 1), Outcome: outcome, TransactionID: at.transactionID, GlobalID: at.globalID})
	}
	return results
}

func (m *model) saveOne(r drawnRequest, before int) (string, position) {
	var known []stored
	for _, e := range r.events {
		if i := slices.IndexFunc(m.events, func(s stored) bool { return s.id == e.id }); i >= 0 {
			known = append(known, m.events[i])
		}
	}
	if len(known) > 0 {
		return m.repeat(r, known)
	}
	latest := none
	if len(r.criteria) > 0 {
		after := r.expected
		if after != none && after != (position{0, 0}) && !slices.ContainsFunc(m.events[:before], func(s stored) bool { return s.at == after }) {
			return "context_changed", none
		}
		if after == (position{0, 0}) {
			after = none
		}
		for _, s := range m.events {
			if s.at.globalID > after.globalID && s.matchesOne(r.criteria) {
				latest = s.at
			}
		}
	}
	if latest != none {
		return "context_changed", latest
	}
	next := int64(len(m.events))
	end := next + int64(len(r.events))
	for i, e := range r.events {
		m.events = append(m.events, stored{event: e.event, fields: e.fields, at: position{end, next + int64(i)}})
	}
	return "saved", position{end, end - 1}
}

// repeat is for a request of which some ids are known: is it a whole save again?
func (m *model) repeat(r drawnRequest, known []stored) (string, position) {
	last := known[len(known)-1].at
	whole := slices.DeleteFunc(slices.Clone(m.events), func(s stored) bool { return s.at.transactionID != last.transactionID })
	same := slices.EqualFunc(whole, r.events, func(s stored, e drawnEvent) bool {
		return s.id == e.id && s.eventType == e.eventType && s.data == e.data
	})
	if same {
		return "repeated", last
	}
	return "event_id_reused", none
}

type drawnRequest struct {
	request
	events []drawnEvent
}

type drawnEvent struct {
	event
	fields map[string]string
}

// Small alphabets, so that ids repeat, contexts overlap and batches conflict within themselves.
var (
	drawKey   = rapid.SampledFrom([]string{"a", "b", "event_type", "eventType"})
	drawValue = rapid.SampledFrom([]string{"1", "true", "x", "T", "U"})
	drawField = rapid.SampledFrom([][2]string{{`1`, "1"}, {`"1"`, "1"}, {`true`, "true"}, {`"x"`, "x"}, {`null`, ""}, {"", ""}})
	drawTag   = rapid.Custom(func(t *rapid.T) tag { return tag{drawKey.Draw(t, "key"), drawValue.Draw(t, "value")} })
	drawTags  = rapid.Custom(func(t *rapid.T) criterion { return rapid.SliceOfN(drawTag, 0, 2).Draw(t, "tags") })
)

func drawEvent(t *rapid.T) drawnEvent {
	e := drawnEvent{
		event:  event{id: fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")), eventType: rapid.SampledFrom([]string{"T", "U"}).Draw(t, "type"), data: "{"},
		fields: map[string]string{},
	}
	for _, key := range []string{"a", "b"} {
		field := drawField.Draw(t, key)
		if field[0] == "" {
			continue
		}
		if e.data != "{" {
			e.data += ", "
		}
		e.data += fmt.Sprintf("%q: %s", key, field[0])
		if field[0] != "null" {
			e.fields[key] = field[1]
		}
	}
	e.data += "}"
	return e
}

func (m *model) drawPosition(t *rapid.T) position {
	kinds := []string{"none", "zero", "astray"}
	if len(m.events) > 0 {
		kinds = append(kinds, "stored", "last", "last")
	}
	switch rapid.SampledFrom(kinds).Draw(t, "position") {
	case "stored":
		return rapid.SampledFrom(m.events).Draw(t, "event").at
	case "last":
		return m.events[len(m.events)-1].at
	case "astray":
		return position{rapid.Int64Range(-2, int64(len(m.events))+3).Draw(t, "transaction_id"), rapid.Int64Range(-2, int64(len(m.events))+3).Draw(t, "global_id")}
	case "zero":
		return position{0, 0}
	default:
		return none
	}
}

func (m *model) drawRequest(t *rapid.T) drawnRequest {
	if len(m.events) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0 {
		return m.drawRepeated(t)
	}
	r := drawnRequest{request: request{expected: m.drawPosition(t), criteria: rapid.SliceOfN(drawTags, 0, 3).Draw(t, "criteria")}}
	seen := map[string]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "events") {
		if e := drawEvent(t); !seen[e.id] {
			seen[e.id] = true
			r.events = append(r.events, e)
		}
	}
	r.request.events = plain(r.events)
	return r
}

// drawRepeated is a stored save again, whole or with its first event missing.
func (m *model) drawRepeated(t *rapid.T) drawnRequest {
	of := rapid.SampledFrom(m.events).Draw(t, "save").at.transactionID
	r := drawnRequest{request: request{expected: none, criteria: []criterion{{}}}}
	for _, s := range m.events {
		if s.at.transactionID == of {
			r.events = append(r.events, drawnEvent{s.event, s.fields})
		}
	}
	if len(r.events) > 1 && rapid.Bool().Draw(t, "cut") {
		r.events = r.events[1:]
	}
	r.request.events = plain(r.events)
	return r
}

func plain(drawn []drawnEvent) []event {
	events := make([]event, len(drawn))
	for i, e := range drawn {
		events[i] = e.event
	}
	return events
}

// read is what a question should be answered.
func (m *model) read(q question) (ids []string) {
	for _, s := range m.events {
		if !s.matchesOne(q.criteria) {
			continue
		}
		if q.begin != nil {
			order := cmpPositions(s.at, *q.begin)
			if order == 0 && !q.inclusive || order < 0 && !q.descending || order > 0 && q.descending {
				continue
			}
		}
		ids = append(ids, s.id)
	}
	if q.descending {
		slices.Reverse(ids)
	}
	return ids[:min(len(ids), int(q.count))]
}

func cmpPositions(a, b position) int {
	if a.transactionID != b.transactionID {
		return int(a.transactionID - b.transactionID)
	}
	return int(a.globalID - b.globalID)
}

// TestSavesAndReadsAgreeWithASimpleModel draws calls of one to five requests and questions between them, and compares winners,
// positions, conflicts and pages with the model's.
func TestSavesAndReadsAgreeWithASimpleModel(t *testing.T) {
	pool := pgtest.New(t)
	boundaries := 0
	rapid.Check(t, func(rt *rapid.T) {
		boundaries++
		boundary := fmt.Sprintf("model_%d", boundaries)
		pgtest.Boundary(t, pool, boundary)
		m := &model{}
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				drawn := make([]drawnRequest, rapid.IntRange(1, 5).Draw(rt, "requests"))
				requests := make([]request, len(drawn))
				for i := range drawn {
					drawn[i] = m.drawRequest(rt)
					requests[i] = drawn[i].request
				}
				got, err := trySave(t.Context(), pool, boundary, requests...)
				if err != nil {
					rt.Fatalf("save: %v", err)
				}
				want := m.save(drawn)
				for i := range got {
					if got[i].Outcome == "event_id_reused" {
						got[i].TransactionID, got[i].GlobalID = -1, -1 // which of several is told is nobody's promise
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("requests %+v\nanswers differ (-model +database):\n%s", requests, diff)
				}
			},
			"read": func(rt *rapid.T) {
				q := question{
					criteria:   rapid.SliceOfN(drawTags, 0, 3).Draw(rt, "criteria"),
					inclusive:  rapid.Bool().Draw(rt, "inclusive"),
					descending: rapid.Bool().Draw(rt, "descending"),
					count:      rapid.Int32Range(1, 8).Draw(rt, "count"),
				}
				if rapid.Bool().Draw(rt, "begins") {
					at := m.drawPosition(rt)
					q.begin = &at
				}
				var got []string
				for _, e := range read(t, pool, boundary, q) {
					got = append(got, e.EventID)
				}
				if diff := cmp.Diff(m.read(q), got); diff != "" {
					rt.Fatalf("question %+v begin %v\nanswers differ (-model +database):\n%s", q, q.begin, diff)
				}
			},
			"latest": func(rt *rapid.T) {
				criteria := rapid.SliceOfN(drawTags, 1, 4).Draw(rt, "criteria")
				rows, err := db.New().GetLatestByCriteria(t.Context(), pool, db.GetLatestByCriteriaParams{Boundary: boundary, Criteria: criteriaJSON(t, criteria)})
				if err != nil {
					rt.Fatal(err)
				}
				got := map[int]string{}
				for _, row := range rows {
					got[int(row.Criterion)] = row.EventID
				}
				want := map[int]string{}
				for i, c := range criteria {
					for _, s := range m.events {
						if s.matches(c) {
							want[i+1] = s.id
						}
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("criteria %+v\nlatest events differ (-model +database):\n%s", criteria, diff)
				}
			},
			"": func(rt *rapid.T) {
				all := read(t, pool, boundary, question{count: 10_000})
				if len(all) != len(m.events) {
					rt.Fatalf("%d events are stored, the model has %d", len(all), len(m.events))
				}
				for i, e := range all {
					if s := m.events[i]; e.EventID != s.id || e.GlobalID != s.at.globalID || e.TransactionID != s.at.transactionID || e.Data != s.data {
						rt.Fatalf("event %d is %+v, the model has %+v", i, e, s)
					}
				}
			},
		})
	})
}
