package main

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

func matching() []check {
	match := func(name, field, key, value string, want bool) check {
		return check{name, func(t *trial) {
			v := unique()
			e := event(v)
			e.Data = fmt.Sprintf(`{"v": %q, %s}`, v, field)
			t.save(nil, e)
			page := t.get(v, func(in *orisunpb.GetEventsRequest) {
				in.Query.Criteria[0].Tags = append(in.Query.Criteria[0].Tags, &orisunpb.Tag{Key: key, Value: value})
			})
			if found := len(page) == 1; found != want {
				t.errorf("{%s} and the tag %s=%s: matches is %v, want %v", field, key, value, found, want)
			}
		}}
	}
	return []check{
		match("a string", `"a": "x"`, "a", "x", true),
		match("another string", `"a": "x"`, "a", "X", false),
		match("a number as text", `"a": 45`, "a", "45", true),
		match("a number is no other text", `"a": 45`, "a", "45.0", false),
		match("a string of digits is the same text", `"a": "45"`, "a", "45", true),
		match("a boolean as text", `"a": true`, "a", "true", true),
		match("null matches nothing", `"a": null`, "a", "null", false),
		match("null is not empty", `"a": null`, "a", "", false),
		match("a missing field matches nothing", `"b": 1`, "a", "", false),
		match("an empty string", `"a": ""`, "a", "", true),
		match("fields within fields are none", `"a": {"b": "x"}`, "b", "x", false),
		match("quotes and backslashes", `"a": "it's \"\\"`, "a", `it's "\`, true),
		match("beyond ASCII", `"a": "žluťoučký 🐎"`, "a", "žluťoučký 🐎", true),
		match("a key with odd characters", `"a.b ->> c'": "x"`, "a.b ->> c'", "x", true),
		match("event_type", `"a": 1`, "event_type", "Conforms", true),
		match("eventType", `"a": 1`, "eventType", "Conforms", true),
		match("another event_type", `"a": 1`, "event_type", "conforms", false),
		match("event_type is never a field", `"event_type": "x"`, "event_type", "x", false),
		match("large numbers keep their digits", `"a": 9007199254740993`, "a", "9007199254740992", false),
	}
}

func reading() []check {
	// page saves seven events and reads some of them.
	page := func(name string, change func(in *orisunpb.GetEventsRequest, stored []*orisunpb.Event), want ...int) check {
		return check{name, func(t *trial) {
			v := unique()
			t.save(nil, events(v, 3)...)
			t.save(nil, event("other"))
			t.save(nil, events(v, 4)...)
			stored := t.get(v, nil)
			if len(stored) != 7 {
				t.errorf("%d events are stored, want 7", len(stored))
				return
			}
			var ids []string
			for _, i := range want {
				ids = append(ids, stored[i].GetEventId())
			}
			t.wantIDs("the page", idsOf(t.get(v, func(in *orisunpb.GetEventsRequest) { change(in, stored) })), ids)
		}}
	}
	type in = *orisunpb.GetEventsRequest
	type stored = []*orisunpb.Event
	beyond := func(p *orisunpb.Position) *orisunpb.Position {
		return &orisunpb.Position{TransactionId: p.GetTransactionId(), GlobalId: p.GetGlobalId() + 1}
	}
	return []check{
		page("all, oldest first", func(in, stored) {}, 0, 1, 2, 3, 4, 5, 6),
		page("all, latest first", func(r in, _ stored) { r.Direction = orisunpb.Direction_DESC }, 6, 5, 4, 3, 2, 1, 0),
		page("count", func(r in, _ stored) { r.Count = 2 }, 0, 1),
		page("count, latest first", func(r in, _ stored) { r.Count, r.Direction = 2, orisunpb.Direction_DESC }, 6, 5),
		page("from a position, that included", func(r in, s stored) { r.FromPosition = s[5].GetPosition() }, 5, 6),
		page("after a position, that excluded", func(r in, s stored) { r.AfterPosition = s[5].GetPosition() }, 6),
		page(
			"from a position back",
			func(r in, s stored) { r.FromPosition, r.Direction = s[1].GetPosition(), orisunpb.Direction_DESC },
			1,
			0,
		),
		page(
			"after a position back",
			func(r in, s stored) { r.AfterPosition, r.Direction = s[1].GetPosition(), orisunpb.Direction_DESC },
			0,
		),
		page(
			"from the position after an event",
			func(r in, s stored) { r.FromPosition = beyond(s[2].GetPosition()) },
			3,
			4,
			5,
			6,
		),
		page(
			"from the position after an event within a save",
			func(r in, s stored) { r.FromPosition = beyond(s[4].GetPosition()) },
			5,
			6,
		),
		page("after {-1,-1}", func(r in, _ stored) { r.AfterPosition = none() }, 0, 1, 2, 3, 4, 5, 6),
		page("from {0,0}", func(r in, _ stored) { r.FromPosition = &orisunpb.Position{} }, 0, 1, 2, 3, 4, 5, 6),
		page("after the last", func(r in, s stored) { r.AfterPosition = s[6].GetPosition() }),
		page("criteria are joined by or", func(r in, _ stored) {
			r.Query.Criteria = append([]*orisunpb.Criterion{tagged("v", unique())}, r.Query.Criteria...)
		}, 0, 1, 2, 3, 4, 5, 6),
		page("an event that two criteria match comes once", func(r in, _ stored) {
			r.Query.Criteria = append(r.Query.Criteria, r.Query.Criteria[0])
		}, 0, 1, 2, 3, 4, 5, 6),
		{"pages of two cover all, each once", func(t *trial) {
			v := unique()
			all := events(v, 7)
			t.save(nil, all...)
			var got []string
			after := none()
			for range 5 {
				page := t.get(v, func(r in) { r.AfterPosition, r.Count = after, 2 })
				if len(page) == 0 {
					break
				}
				got, after = append(got, idsOf(page)...), page[len(page)-1].GetPosition()
			}
			t.wantIDs("the pages", got, savedIDs(all))
		}},
		{"without a query every event matches", func(t *trial) {
			at := t.save(nil, event("x"))
			page := t.get("", func(r in) { r.Query, r.Direction, r.Count = nil, orisunpb.Direction_DESC, 1 })
			if len(page) != 1 {
				t.errorf("%d events", len(page))
				return
			}
			t.wantPosition("the latest event", page[0].GetPosition(), at)
		}},
		{"a save is read at once", func(t *trial) {
			for range 10 {
				v := unique()
				t.save(nil, event(v))
				if len(t.get(v, nil)) != 1 {
					t.errorf("an event that was saved is not read")
				}
			}
		}},
	}
}

func latestChecks() []check {
	return []check{
		{"the latest of each criterion, in their order", func(t *trial) {
			a, b := unique(), unique()
			t.save(nil, event(a))
			second := event(a)
			at := t.save(nil, event(b), second)
			answer := t.latest(tagged("v", unique()), tagged("v", a), tagged("v", b))
			if len(answer.GetResults()) != 3 {
				t.errorf("%d results, want 3", len(answer.GetResults()))
				return
			}
			if answer.GetResults()[0].GetEvent() != nil ||
				answer.GetResults()[1].GetEvent().GetEventId() != second.GetEventId() {
				t.errorf("%v", answer)
			}
			t.wantPosition("context_position", answer.GetContextPosition(), at)
		}},
		{"the criterion comes back", func(t *trial) {
			criterion := tagged("v", unique())
			if answer := t.latest(criterion); len(answer.GetResults()) != 1 ||
				!proto.Equal(answer.GetResults()[0].GetCriterion(), criterion) {
				t.errorf("%v", answer)
			}
		}},
		{"context_position is {-1,-1} where nothing matches", func(t *trial) {
			t.wantPosition("context_position", t.latest(tagged("v", unique())).GetContextPosition(), none())
		}},
		{"a save on context_position holds", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			t.save(condition(t.latest(tagged("v", v)).GetContextPosition(), tagged("v", v)), event(v))
			_, err := t.trySave(condition(none(), tagged("v", v)), event(v))
			t.wantCode("on an older one", err, codes.AlreadyExists)
		}},
	}
}
