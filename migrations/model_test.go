package migrations_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
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
		result := db.OrisunSaveResult{
			Request: int32(i + 1), Outcome: outcome, TransactionID: at.transactionID, GlobalID: at.globalID,
		}
		if outcome == "context_changed" && at != none {
			conflicting := m.events[at.globalID]
			result.EventID, result.EventType = &conflicting.id, &conflicting.eventType
		}
		results = append(results, result)
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
		if after != none && after != (position{0, 0}) &&
			!slices.ContainsFunc(m.events[:before], func(s stored) bool { return s.at == after }) {
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

// repeat is for a request of which some ids are known: is it a retry of a whole save?
func (m *model) repeat(r drawnRequest, known []stored) (string, position) {
	last := known[len(known)-1].at
	whole := slices.DeleteFunc(slices.Clone(m.events), func(s stored) bool {
		return s.at.transactionID != last.transactionID
	})
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

const moment = "2026-11-23T06:30:00Z"

// long is all that an index keeps of a longer text.
var long = strings.Repeat("y", 128)

// Small alphabets, so that ids repeat, contexts overlap and batches conflict within themselves.
var (
	drawKey   = rapid.SampledFrom([]string{"a", "b", "event_type", "eventType"})
	drawValue = rapid.SampledFrom([]string{"1", "1.0", "true", "x", "T", "U", moment, long + "1", long + "2"})
	drawField = rapid.SampledFrom([][2]string{
		{`1`, "1"},
		{`"1"`, "1"},
		{`1.0`, "1.0"},
		{`true`, "true"},
		{`"x"`, "x"},
		{`null`, ""},
		{"", ""},
		{`"` + moment + `"`, moment},
		{`"` + long + `1"`, long + "1"},
		{`"` + long + `2"`, long + "2"},
	})
	drawTag  = rapid.Custom(func(t *rapid.T) tag { return tag{drawKey.Draw(t, "key"), drawValue.Draw(t, "value")} })
	drawTags = rapid.Custom(func(t *rapid.T) criterion { return rapid.SliceOfN(drawTag, 0, 3).Draw(t, "tags") })
)

// drawIndex is an index on anything: fields that events lack, types that values are not, conditions that nothing
// fulfils.
var drawIndex = rapid.Custom(func(t *rapid.T) index {
	ix := index{
		name:       rapid.SampledFrom([]string{"i", "j", "k"}).Draw(t, "name"),
		combinator: rapid.SampledFrom([]string{"AND", "OR"}).Draw(t, "combinator"),
	}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "eventType", "missing"}), 1, 2,
		rapid.ID).Draw(t, "fields") {
		kind := "TEXT"
		if key != "eventType" {
			kind = rapid.SampledFrom([]string{"TEXT", "NUMERIC", "BOOLEAN", "TIMESTAMPTZ"}).Draw(t, "type")
		}
		ix.fields = append(ix.fields, field{key, kind})
	}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		ix.conditions = append(ix.conditions, condition{
			drawKey.Draw(t, "key"), rapid.SampledFrom([]string{"=", ">", "<", ">=", "<="}).Draw(t, "operator"),
			drawValue.Draw(t, "value"),
		})
	}
	return ix
})

func drawEvent(t *rapid.T) drawnEvent {
	e := drawnEvent{
		event: event{
			id:        fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")),
			eventType: rapid.SampledFrom([]string{"T", "U"}).Draw(t, "type"), data: "{",
		},
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
		return position{
			rapid.Int64Range(-2, int64(len(m.events))+3).Draw(t, "transaction_id"),
			rapid.Int64Range(-2, int64(len(m.events))+3).Draw(t, "global_id"),
		}
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
	r := drawnRequest{
		request: request{expected: m.drawPosition(t), criteria: rapid.SliceOfN(drawTags, 0, 3).Draw(t, "criteria")},
	}
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

// plainKeys are what an index on texts may have in the tests.
var plainKeys = [][]string{{"a"}, {"a", "b"}, {"event_type"}}

// drawPlain is requests of one event each, whose contexts have the same keys.
func (m *model) drawPlain(t *rapid.T) []drawnRequest {
	keys := rapid.SampledFrom(append([][]string{nil, {}, {"a", "a"}}, plainKeys...)).Draw(t, "keys")
	drawn := make([]drawnRequest, rapid.IntRange(1, 5).Draw(t, "requests"))
	for i := range drawn {
		r := m.drawRequest(t)
		r.events = r.events[:1]
		r.request.events = plain(r.events)
		r.criteria = nil
		if keys != nil {
			c := criterion{}
			for _, key := range keys {
				c = append(c, tag{key, drawValue.Draw(t, "value")})
			}
			r.criteria = []criterion{c}
		}
		drawn[i] = r
	}
	return drawn
}

// drawRepeated is a retry of a stored save, whole or with its first event missing.
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

// read is what a query should return.
func (m *model) read(q query) (ids []string) {
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

// follow is what a subscription gets that begins after a position.
func (m *model) follow(criteria []criterion, after position) (ids []string) {
	for _, s := range m.events {
		if cmpPositions(s.at, after) > 0 && s.matchesOne(criteria) {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// follow reads pages as a subscription does, until there is nothing more.
func follow(t *rapid.T, tx db.DBTX, name string, params db.FollowEventsParams) (ids []string) {
	var boundaries boundary.Boundaries
	own, err := boundaries.On(t.Context(), tx, name)
	if err != nil {
		t.Fatalf("follow: %v", err)
	}
	for {
		rows, err := db.New().FollowEvents(t.Context(), own, params)
		if err != nil {
			t.Fatalf("follow: %v", err)
		}
		if len(rows) == 0 {
			return ids
		}
		for _, row := range rows {
			if row.Matches {
				ids = append(ids, row.EventID)
			}
			params.TransactionID, params.GlobalID = row.TransactionID, row.GlobalID
		}
	}
}

// TestSavesAndReadsAgreeWithASimpleModel draws calls of one to five requests and queries between them, and compares
// winners, positions, conflicts and pages with the model's. Indexes, which the model has none of, come and go.
func TestSavesAndReadsAgreeWithASimpleModel(t *testing.T) {
	pool := pgtest.New(t)
	boundaries := 0
	rapid.Check(t, func(rt *rapid.T) {
		boundaries++
		name := fmt.Sprintf("model_%d", boundaries)
		pgtest.Boundary(t, pool, name)
		m := &model{}
		check := func(rt *rapid.T, drawn []drawnRequest) {
			rt.Helper()
			requests := make([]request, len(drawn))
			for i := range drawn {
				requests[i] = drawn[i].request
			}
			got, err := trySaveUnsorted(t.Context(), pool, name, requests...)
			if err != nil {
				rt.Fatalf("save: %v", err)
			}
			// The result is that of one request after the other, in the order of the answers.
			inOrder := make([]drawnRequest, len(got))
			for i := range got {
				inOrder[i] = drawn[got[i].Request-1]
			}
			want := m.save(inOrder)
			for i := range got {
				want[i].Request = got[i].Request
				if got[i].Outcome == "event_id_reused" {
					got[i].TransactionID, got[i].GlobalID = -1, -1 // which of several is returned is not promised
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("requests %+v\nanswers differ (-model +database):\n%s", requests, diff)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				drawn := make([]drawnRequest, rapid.IntRange(1, 5).Draw(rt, "requests"))
				for i := range drawn {
					drawn[i] = m.drawRequest(rt)
				}
				check(rt, drawn)
			},
			"save plain": func(rt *rapid.T) {
				check(rt, m.drawPlain(rt))
			},
			"read": func(rt *rapid.T) {
				q := query{
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
				for _, e := range read(t, pool, name, q) {
					got = append(got, e.EventID)
				}
				if diff := cmp.Diff(m.read(q), got); diff != "" {
					rt.Fatalf("query %+v begin %v\nanswers differ (-model +database):\n%s", q, q.begin, diff)
				}
				if diff := cmp.Diff(got, readByServer(t, pool, name, q)); diff != "" {
					rt.Fatalf("query %+v begin %v\nanswers differ (-function +server):\n%s", q, q.begin, diff)
				}
			},
			"latest": func(rt *rapid.T) {
				criteria := rapid.SliceOfN(drawTags, 1, 4).Draw(rt, "criteria")
				got := map[int]string{}
				for _, row := range latest(t, pool, name, criteria) {
					got[int(row.Owner)] = row.EventID
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
			"follow": func(rt *rapid.T) {
				criteria, after := rapid.SliceOfN(drawTags, 0, 3).Draw(rt, "criteria"), m.drawPosition(rt)
				got := follow(rt, pool, name, db.FollowEventsParams{
					Criteria: boundary.Criteria(wireCriteria(criteria)), TransactionID: after.transactionID, GlobalID: after.globalID,
					ScanWindow: rapid.Int32Range(1, 6).Draw(rt, "window"), Count: rapid.Int32Range(1, 6).Draw(rt, "count"),
				})
				if diff := cmp.Diff(m.follow(criteria, after), got); diff != "" {
					rt.Fatalf("criteria %+v after %v\nfollowed events differ (-model +database):\n%s", criteria, after, diff)
				}
			},
			"index what plain saves have": func(rt *rapid.T) {
				ix := index{name: "plain"}
				for _, key := range rapid.SampledFrom(plainKeys).Draw(rt, "keys") {
					ix.name += "_" + key
					ix.fields = append(ix.fields, field{key, "TEXT"})
				}
				if err := createIndex(t.Context(), pool, name, ix); err != nil && !hasState(err, "OR010") {
					rt.Fatalf("create index: %v", err)
				}
			},
			"create index": func(rt *rapid.T) {
				if err := createIndex(t.Context(), pool, name, drawIndex.Draw(rt, "index")); err != nil && !hasState(err, "OR010") {
					rt.Fatalf("create index: %v", err)
				}
			},
			"drop index": func(rt *rapid.T) {
				if err := dropIndex(t.Context(), pool, name,
					rapid.SampledFrom([]string{"i", "j", "k"}).Draw(rt, "name")); err != nil && !hasState(err, "OR009") {
					rt.Fatalf("drop index: %v", err)
				}
			},
			"": func(rt *rapid.T) {
				all := read(t, pool, name, query{count: 10_000})
				if len(all) != len(m.events) {
					rt.Fatalf("%d events are stored, the model has %d", len(all), len(m.events))
				}
				for i, e := range all {
					if s := m.events[i]; e.EventID != s.id || e.GlobalID != s.at.globalID || e.TransactionID != s.at.transactionID ||
						e.Data != s.data {
						rt.Fatalf("event %d is %+v, the model has %+v", i, e, s)
					}
				}
			},
		})
	})
}
