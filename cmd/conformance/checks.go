package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

type section struct {
	name   string
	checks func() []check
}

var sections = []section{
	{"saving", saving},
	{"conditions", conditions},
	{"races", races},
	{"retries", retries},
	{"matching", matching},
	{"reading", reading},
	{"latest", latestChecks},
	{"subscriptions", subscriptions},
	{"indexes", indexes},
	{"invalid", invalid},
	{"limits", limits},
	{"access", access},
	{"server", server},
}

func saving() []check {
	return []check{
		{"the position of a save is that of its last event", func(t *trial) {
			v := unique()
			at := t.save(nil, events(v, 3)...)
			page := t.get(v, nil)
			if len(page) != 3 {
				t.errorf("%d events are stored, want 3", len(page))
				return
			}
			t.wantPosition("the last event", page[2].GetPosition(), at)
		}},
		{"the events of a save have one transaction_id, the global_id of the last one plus one", func(t *trial) {
			v := unique()
			at := t.save(nil, events(v, 3)...)
			for i, e := range t.get(v, nil) {
				want := &orisunpb.Position{TransactionId: at.GetGlobalId() + 1, GlobalId: at.GetGlobalId() - 2 + int64(i)}
				t.wantPosition(fmt.Sprint("event ", i), e.GetPosition(), want)
			}
		}},
		{"positions of later saves are later, without gaps", func(t *trial) {
			first := t.save(nil, event("x"))
			second := t.save(nil, event("x"))
			if second.GetGlobalId() != first.GetGlobalId()+1 || second.GetTransactionId() != second.GetGlobalId()+1 {
				t.errorf("{%v} comes after {%v}", second, first)
			}
		}},
		{"all fields of WriteResult speak of the last event", func(t *trial) {
			in := &orisunpb.SaveEventsRequest{Boundary: t.boundary, Events: events("x", 2)}
			answer, err := t.store.SaveEvents(t.ctx, in)
			at := answer.GetLogPosition()
			if err != nil || answer.GetNewGlobalId() != at.GetGlobalId() || answer.GetLatestGlobalId() != at.GetGlobalId() ||
				answer.GetLatestTransactionId() != at.GetTransactionId() {
				t.errorf("%v, %v", answer, err)
			}
		}},
		{"type, data, metadata and time come back", func(t *trial) {
			v := unique()
			e := event(v)
			e.Metadata = `{"m": 1}`
			t.save(nil, e)
			page := t.get(v, nil)
			if len(page) != 1 || page[0].GetEventId() != e.GetEventId() || page[0].GetEventType() != e.GetEventType() ||
				page[0].GetMetadata() != e.GetMetadata() || !strings.Contains(page[0].GetData(), v) ||
				page[0].GetDateCreated().GetSeconds() == 0 {
				t.errorf("%v", page)
			}
		}},
		{"numbers beyond 2^53 keep their digits", func(t *trial) {
			v := unique()
			e := event(v)
			e.Data = fmt.Sprintf(`{"v": %q, "n": 9007199254740993}`, v)
			t.save(nil, e)
			if page := t.get(v, nil); len(page) != 1 || !strings.Contains(page[0].GetData(), "9007199254740993") {
				t.errorf("%v", page)
			}
		}},
		{"empty and null documents count as {}", func(t *trial) {
			v := unique()
			e, null := event(v), event(v)
			e.Metadata, null.Metadata = "", "null"
			t.save(nil, e, null)
			for _, stored := range t.get(v, nil) {
				if stored.GetMetadata() != "{}" {
					t.errorf("metadata is %s", stored.GetMetadata())
				}
			}
		}},
		{"a save without conditions ignores expected_position", func(t *trial) {
			t.save(
				&orisunpb.SaveQuery{ExpectedPosition: &orisunpb.Position{TransactionId: 987_654_321, GlobalId: 3}},
				event("x"),
			)
		}},
		{"a hundred events in one save keep their order", func(t *trial) {
			v := unique()
			all := events(v, 100)
			t.save(nil, all...)
			t.wantIDs("the page", idsOf(t.get(v, nil)), savedIDs(all))
		}},
	}
}

func conditions() []check {
	// conflicting has an event after the expected position and wants the conflict.
	conflicting := func(name string, query func(v string, first, second *orisunpb.Position) *orisunpb.SaveQuery) check {
		return check{name, func(t *trial) {
			v := unique()
			first := t.save(nil, event(v))
			second := t.save(nil, event(v))
			_, err := t.trySave(query(v, first, second), event(v))
			t.wantReason("the save", err, codes.AlreadyExists, "CONTEXT_CHANGED")
			if n := len(t.get(v, nil)); n != 2 {
				t.errorf("%d events are stored, want 2", n)
			}
		}}
	}
	holding := func(name string, query func(v string, first, second *orisunpb.Position) *orisunpb.SaveQuery) check {
		return check{name, func(t *trial) {
			v := unique()
			first := t.save(nil, event(v))
			second := t.save(nil, event(v))
			t.save(query(v, first, second), event(v))
			if n := len(t.get(v, nil)); n != 3 {
				t.errorf("%d events are stored, want 3", n)
			}
		}}
	}
	type p = *orisunpb.Position
	type q = *orisunpb.SaveQuery
	return []check{
		holding("the latest position holds", func(v string, _, second p) q { return condition(second, tagged("v", v)) }),
		conflicting(
			"an earlier position conflicts",
			func(v string, first, _ p) q { return condition(first, tagged("v", v)) },
		),
		conflicting(
			"{-1,-1} conflicts with any event",
			func(v string, _, _ p) q { return condition(none(), tagged("v", v)) },
		),
		conflicting("{0,0} is {-1,-1}", func(v string, _, _ p) q { return condition(&orisunpb.Position{}, tagged("v", v)) }),
		conflicting("an absent position is {-1,-1}", func(v string, _, _ p) q { return condition(nil, tagged("v", v)) }),
		conflicting("a position of no event conflicts", func(v string, _, second p) q {
			return condition(
				&orisunpb.Position{TransactionId: second.GetTransactionId() + 5, GlobalId: second.GetGlobalId()},
				tagged("v", v),
			)
		}),
		holding(
			"a context without events holds at {-1,-1}",
			func(string, p, p) q { return condition(none(), tagged("v", unique())) },
		),
		holding("what does not match does not conflict", func(v string, first, _ p) q {
			return condition(first, tagged("v", v, "other", "tag"))
		}),
		conflicting("one of several criteria conflicts", func(v string, first, _ p) q {
			return condition(first, tagged("v", unique()), tagged("v", v))
		}),
		conflicting("the first of several criteria conflicts", func(v string, first, _ p) q {
			return condition(first, tagged("v", v), tagged("v", unique()))
		}),
		conflicting("criteria (100) are a condition, too", func(v string, first, _ p) q {
			return &orisunpb.SaveQuery{ExpectedPosition: first, Criteria: []*orisunpb.Criterion{tagged("v", v)}}
		}),
		conflicting("criteria and subset_query add up", func(v string, first, _ p) q {
			query := condition(first, tagged("v", unique()))
			query.Criteria = []*orisunpb.Criterion{tagged("v", v)}
			return query
		}),
		conflicting(
			"a subset_query without criteria is the whole boundary",
			func(_ string, first, _ p) q { return condition(first) },
		),
		conflicting(
			"a criterion without tags is the whole boundary",
			func(_ string, first, _ p) q { return condition(first, tagged()) },
		),
		conflicting("event_type is a tag", func(v string, first, _ p) q {
			return condition(first, tagged("v", v, "event_type", "Conforms"))
		}),
		{"the first event of a context wins once", func(t *trial) {
			v := unique()
			t.save(condition(none(), tagged("v", v)), event(v))
			_, err := t.trySave(condition(none(), tagged("v", v)), event(v))
			t.wantCode("the second", err, codes.AlreadyExists)
		}},
		{"a conflict stores none of several events", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			other := unique()
			_, err := t.trySave(condition(none(), tagged("v", v)), events(other, 3)...)
			t.wantCode("the save", err, codes.AlreadyExists)
			if n := len(t.get(other, nil)); n != 0 {
				t.errorf("%d events are stored", n)
			}
		}},
		{"a conflict names expected and actual position", func(t *trial) {
			v := unique()
			first, second := t.save(nil, event(v)), t.save(nil, event(v))
			_, err := t.trySave(condition(first, tagged("v", v)), event(v))
			details := t.wantReason("the save", err, codes.AlreadyExists, "CONTEXT_CHANGED")
			want := fmt.Sprint(first.GetTransactionId(), first.GetGlobalId(), second.GetTransactionId(), second.GetGlobalId())
			got := strings.Join([]string{
				details["expected_transaction_id"], details["expected_global_id"],
				details["actual_transaction_id"], details["actual_global_id"],
			}, " ")
			if got != want {
				t.errorf("the details say %s, want %s", got, want)
			}
		}},
		{"the text of a conflict is what clients look for", func(t *trial) {
			v := unique()
			first, second := t.save(nil, event(v)), t.save(nil, event(v))
			_, err := t.trySave(condition(first, tagged("v", v)), event(v))
			want := fmt.Sprintf("OptimisticConcurrencyException (AlreadyExists): Expected %d, Actual %d",
				first.GetTransactionId(), second.GetTransactionId())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.errorf("%v\nwant %s", err, want)
			}
		}},
	}
}

func races() []check {
	const clients = 32
	race := func(name string, winners int, query func(v string, client int) *orisunpb.SaveQuery, each int) check {
		return check{name, func(t *trial) {
			v := unique()
			var mu sync.Mutex
			var running sync.WaitGroup
			won := 0
			for i := range clients {
				running.Go(func() {
					_, err := t.trySave(query(v, i), events(v, each)...)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					} else {
						t.wantCode("a save", err, codes.AlreadyExists)
					}
				})
			}
			running.Wait()
			if won != winners || len(t.get(v, nil)) != winners*each {
				t.errorf("%d of %d saves won, want %d; %d events are stored", won, clients, winners, len(t.get(v, nil)))
			}
		}}
	}
	return []check{
		race("of 32 saves on one context one wins", 1, func(v string, _ int) *orisunpb.SaveQuery {
			return condition(none(), tagged("v", v))
		}, 1),
		race("of 32 saves on one context one wins, with several events", 1, func(v string, _ int) *orisunpb.SaveQuery {
			return condition(none(), tagged("v", v))
		}, 3),
		race("32 saves on contexts of their own all win", clients, func(v string, client int) *orisunpb.SaveQuery {
			return condition(none(), tagged("v", fmt.Sprint(v, client)))
		}, 1),
		race("32 saves without conditions all win", clients, func(string, int) *orisunpb.SaveQuery { return nil }, 2),
		{"saves that cross contexts do not both win", func(t *trial) {
			for range 5 {
				a, b := unique(), unique()
				var running sync.WaitGroup
				var errs [2]error
				for i, pair := range [][2]string{{a, b}, {b, a}} {
					running.Go(func() { _, errs[i] = t.trySave(condition(none(), tagged("v", pair[0])), event(pair[1])) })
				}
				running.Wait()
				if errs[0] == nil && errs[1] == nil {
					t.errorf("both won")
				}
			}
		}},
	}
}

func retries() []check {
	retry := func(name string, query func(v string) *orisunpb.SaveQuery, n int) check {
		return check{name, func(t *trial) {
			v := unique()
			all := events(v, n)
			first := t.save(query(v), all...)
			t.save(nil, event(v))
			t.wantPosition("the retry", t.save(query(v), all...), first)
			if stored := len(t.get(v, nil)); stored != n+1 {
				t.errorf("%d events are stored, want %d", stored, n+1)
			}
		}}
	}
	reused := func(name string, change func(all []*orisunpb.EventToSave) []*orisunpb.EventToSave) check {
		return check{name, func(t *trial) {
			v := unique()
			all := events(v, 2)
			t.save(nil, all...)
			_, err := t.trySave(nil, change(all)...)
			t.wantReason("the save", err, codes.FailedPrecondition, "EVENT_ID_REUSED")
			if n := len(t.get(v, nil)); n != 2 {
				t.errorf("%d events are stored, want 2", n)
			}
		}}
	}
	type all = []*orisunpb.EventToSave
	unconditional := func(string) *orisunpb.SaveQuery { return nil }
	unseen := func(v string) *orisunpb.SaveQuery { return condition(none(), tagged("v", v)) }
	return []check{
		retry("a retry returns the position of the save", unconditional, 1),
		retry("a retry of several events, too", unconditional, 3),
		retry("a retry under a condition does not conflict with itself", unseen, 1),
		retry("a retry of several events under a condition", unseen, 3),
		{"data may be printed in another way", func(t *trial) {
			v := unique()
			e := event(v)
			first := t.save(nil, e)
			e.Data = fmt.Sprintf("{ \"v\":%q }", v)
			t.wantPosition("the retry", t.save(nil, e), first)
		}},
		{"retries at once store one save", func(t *trial) {
			v := unique()
			e := event(v)
			var running sync.WaitGroup
			positions := make([]*orisunpb.Position, 16)
			for i := range positions {
				running.Go(func() {
					at, err := t.trySave(nil, proto.CloneOf(e))
					if positions[i] = at; err != nil {
						positions[i] = nil
					}
				})
			}
			running.Wait()
			for _, at := range positions {
				t.wantPosition("a retry", at, positions[0])
			}
			if n := len(t.get(v, nil)); n != 1 {
				t.errorf("%d events are stored", n)
			}
		}},
		reused("an id with other data is refused", func(e all) all { e[1].Data = `{"v": "other"}`; return e }),
		reused("an id with another type is refused", func(e all) all { e[0].EventType = "Other"; return e }),
		reused("a part of a save is no retry", func(e all) all { return e[:1] }),
		reused("a save and more is no retry", func(e all) all { return append(e, event("x")) }),
		reused("another order is no retry", func(e all) all { return all{e[1], e[0]} }),
	}
}

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

func subscriptions() []check {
	query := func(v string) *orisunpb.Query {
		return &orisunpb.Query{Criteria: []*orisunpb.Criterion{tagged("v", v)}}
	}
	return []check{
		{"what is stored, in order, each once", func(t *trial) {
			v := unique()
			all := events(v, 20)
			t.save(nil, all...)
			t.wantIDs(
				"the stream",
				idsOf(t.follow(20, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, nil)),
				savedIDs(all),
			)
		}},
		{"after a position", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			later := events(v, 2)
			t.save(nil, later...)
			t.wantIDs(
				"the stream",
				idsOf(t.follow(2, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: at, Query: query(v)}, nil)),
				savedIDs(later),
			)
		}},
		{"what is stored, then what comes", func(t *trial) {
			v := unique()
			all := events(v, 40)
			t.save(nil, all[:20]...)
			got := t.follow(40, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, func() {
				for _, e := range all[20:] {
					t.save(nil, e)
				}
			})
			t.wantIDs("the stream", idsOf(got), savedIDs(all))
		}},
		{"without after_position from now on", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			later := event(v)
			got := t.follow(1, &orisunpb.CatchUpSubscribeToEventStoreRequest{Query: query(v)}, func() { t.save(nil, later) })
			t.wantIDs("the stream", idsOf(got), []string{later.GetEventId()})
		}},
		{"what does not match does not come", func(t *trial) {
			v := unique()
			t.save(nil, event("other"), event(v), event("other"))
			last := event(v)
			t.save(nil, event("other"), last)
			got := t.follow(2, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, nil)
			if ids := idsOf(got); len(ids) != 2 || ids[1] != last.GetEventId() {
				t.errorf("%v", ids)
			}
		}},
		{"writers at once: the stream is what is read", func(t *trial) {
			v := unique()
			got := t.follow(64, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, func() {
				var running sync.WaitGroup
				for range 8 {
					running.Go(func() {
						for range 8 {
							if _, err := t.trySave(nil, event(v)); err != nil {
								return // the stream's deadline says so
							}
						}
					})
				}
				running.Wait()
			})
			t.wantIDs("the stream", idsOf(got), idsOf(t.get(v, nil)))
		}},
		{"an event has its position and its data", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			request := &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}
			for _, e := range t.follow(1, request, nil) {
				t.wantPosition("the event", e.GetPosition(), at)
				if !strings.Contains(e.GetData(), v) || e.GetEventType() != "Conforms" || e.GetDateCreated() == nil {
					t.errorf("%v", e)
				}
			}
		}},
		{"an unknown boundary is NOT_FOUND", func(t *trial) {
			stream, err := t.store.CatchUpSubscribeToEvents(
				t.ctx,
				&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "nowhere_" + unique()[:8]},
			)
			if err == nil {
				_, err = stream.Recv()
			}
			t.wantCode("the stream", err, codes.NotFound)
		}},
		{"a later subscription with the name on this connection replaces the older one", func(t *trial) {
			name, v := unique(), unique()
			t.save(nil, event(v))
			subscribe := func() (grpc.ServerStreamingClient[orisunpb.Event], error) {
				stream, err := t.store.CatchUpSubscribeToEvents(t.ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: t.boundary, SubscriberName: name, AfterPosition: none(), Query: query(v),
				})
				if err == nil {
					_, err = stream.Recv()
				}
				return stream, err
			}
			older, err := subscribe()
			t.wantCode("the first", err, codes.OK)
			_, err = subscribe()
			t.wantCode("the second", err, codes.OK)
			if older != nil {
				_, err = older.Recv()
				t.wantReason("the first, then", err, codes.Aborted, "SUBSCRIPTION_REPLACED")
			}
		}},
	}
}

func indexes() []check {
	create := func(t *trial, name, key string) error {
		_, err := t.store.CreateIndex(t.ctx, &orisunpb.CreateIndexRequest{
			Boundary: t.boundary, Name: name, Fields: []*orisunpb.IndexField{{JsonKey: key}},
		})
		return err
	}
	drop := func(t *trial, name string) error {
		_, err := t.store.DropIndex(t.ctx, &orisunpb.DropIndexRequest{Boundary: t.boundary, Name: name})
		return err
	}
	return []check{
		{"created, listed, found, dropped", func(t *trial) {
			name := "i" + unique()[:8]
			t.wantCode("create", create(t, name, name), codes.OK)
			t.wantCode("the same again", create(t, name, name), codes.OK)
			t.wantCode("another of that name", create(t, name, "other"), codes.AlreadyExists)
			got, err := t.store.GetIndex(t.ctx, &orisunpb.GetIndexRequest{Boundary: t.boundary, Name: name})
			if err != nil || got.GetIndex().GetState() != orisunpb.IndexState_INDEX_STATE_READY ||
				got.GetIndex().GetFields()[0].GetJsonKey() != name {
				t.errorf("GetIndex: %v, %v", got, err)
			}
			list, err := t.store.ListIndexes(t.ctx, &orisunpb.ListIndexesRequest{Boundary: t.boundary})
			if err != nil ||
				!slices.ContainsFunc(list.GetIndexes(), func(d *orisunpb.IndexDefinition) bool { return d.GetName() == name }) {
				t.errorf("ListIndexes: %v, %v", list, err)
			}
			t.wantCode("drop", drop(t, name), codes.OK)
			_, err = t.store.GetIndex(t.ctx, &orisunpb.GetIndexRequest{Boundary: t.boundary, Name: name})
			t.wantCode("GetIndex, then", err, codes.NotFound)
		}},
		{"an index changes no answer", func(t *trial) {
			v, name := unique(), "i"+unique()[:8]
			t.save(nil, events(v, 3)...)
			t.wantCode("create", create(t, name, "v"), codes.OK)
			at := t.save(nil, event(v))
			if n := len(t.get(v, nil)); n != 4 {
				t.errorf("%d events, want 4", n)
			}
			_, err := t.trySave(condition(none(), tagged("v", v)), event(v))
			t.wantCode("a stale save", err, codes.AlreadyExists)
			t.wantPosition("the latest", t.latest(tagged("v", v)).GetContextPosition(), at)
			t.wantCode("drop", drop(t, name), codes.OK)
		}},
		{"Admin creates and drops indexes, too", func(t *trial) {
			name := "i" + unique()[:8]
			_, err := t.admin.CreateIndex(t.ctx, &orisunpb.CreateIndexRequest{
				Boundary: t.boundary, Name: name,
				Fields: []*orisunpb.IndexField{{JsonKey: "n", ValueType: orisunpb.ValueType_NUMERIC}},
			})
			t.wantCode("create", err, codes.OK)
			_, err = t.admin.DropIndex(t.ctx, &orisunpb.DropIndexRequest{Boundary: t.boundary, Name: name})
			t.wantCode("drop", err, codes.OK)
		}},
		{"an unknown index is NOT_FOUND", func(t *trial) { t.wantCode("drop", drop(t, "i"+unique()[:8]), codes.NotFound) }},
	}
}

func invalid() []check {
	save := func(name, field string, change func(in *orisunpb.SaveEventsRequest)) check {
		return check{name, func(t *trial) {
			in := &orisunpb.SaveEventsRequest{Boundary: t.boundary, Events: events("x", 1)}
			change(in)
			_, err := t.store.SaveEvents(t.ctx, in)
			t.wantField("the save", err, field)
		}}
	}
	type in = *orisunpb.SaveEventsRequest
	long := strings.Repeat("x", 257)
	return []check{
		save("a save without events", "events", func(s in) { s.Events = nil }),
		save("a save without a boundary", "boundary", func(s in) { s.Boundary = "" }),
		save("an event without an id", "events[0].event_id", func(s in) { s.Events[0].EventId = "" }),
		save("an event without a type", "events[0].event_type", func(s in) { s.Events[0].EventType = "" }),
		save("an id that is too long", "events[0].event_id", func(s in) { s.Events[0].EventId = long }),
		save("a type that is too long", "events[0].event_type", func(s in) { s.Events[0].EventType = long }),
		save("an id twice", "events[1].event_id", func(s in) { s.Events = append(s.Events, s.Events[0]) }),
		save("data that is no JSON", "events[0].data", func(s in) { s.Events[0].Data = "{" }),
		save("data that is no object", "events[0].data", func(s in) { s.Events[0].Data = "[1]" }),
		save("metadata that is no object", "events[0].metadata", func(s in) { s.Events[0].Metadata = `"x"` }),
		save("data with a NUL", "events[0].data", func(s in) { s.Events[0].Data = `{"a": "\u0000"}` }),
		save(
			"a tag without a key",
			"query.subset_query.criteria[0].tags[0].key",
			func(s in) { s.Query = condition(none(), tagged("", "x")) },
		),
		{"both positions of a page", func(t *trial) {
			_, err := t.store.GetEvents(
				t.ctx,
				&orisunpb.GetEventsRequest{Boundary: t.boundary, FromPosition: none(), AfterPosition: none()},
			)
			t.wantCode("the page", err, codes.InvalidArgument)
		}},
		{"latest without criteria", func(t *trial) {
			_, err := t.store.GetLatestByCriteria(t.ctx, &orisunpb.GetLatestByCriteriaRequest{Boundary: t.boundary})
			t.wantField("latest", err, "criteria")
		}},
		{"an unknown boundary is NOT_FOUND", func(t *trial) {
			nowhere := "nowhere_" + unique()[:8]
			_, err := t.store.SaveEvents(t.ctx, &orisunpb.SaveEventsRequest{Boundary: nowhere, Events: events("x", 1)})
			t.wantCode("a save", err, codes.NotFound)
			_, err = t.store.GetEvents(t.ctx, &orisunpb.GetEventsRequest{Boundary: nowhere})
			t.wantCode("a page", err, codes.NotFound)
		}},
	}
}

func limits() []check {
	get := func(name, field string, change func(in *orisunpb.GetEventsRequest)) check {
		return check{name, func(t *trial) {
			in := &orisunpb.GetEventsRequest{Boundary: t.boundary, Query: &orisunpb.Query{}}
			change(in)
			_, err := t.store.GetEvents(t.ctx, in)
			if field == "" {
				t.wantCode("the page", err, codes.OK)
				return
			}
			t.wantCode("the page", err, codes.InvalidArgument)
		}}
	}
	criteria := func(n, tags int) (all []*orisunpb.Criterion) {
		for range n {
			c := &orisunpb.Criterion{}
			for i := range tags {
				c.Tags = append(c.Tags, &orisunpb.Tag{Key: fmt.Sprint("k", i), Value: "x"})
			}
			all = append(all, c)
		}
		return all
	}
	type in = *orisunpb.GetEventsRequest
	return []check{
		get("a page of 10,000", "", func(r in) { r.Count = 10_000 }),
		get("a page of 10,001", "count", func(r in) { r.Count = 10_001 }),
		get("256 criteria", "", func(r in) { r.Query.Criteria = criteria(256, 1) }),
		get("257 criteria", "query.criteria", func(r in) { r.Query.Criteria = criteria(257, 1) }),
		get("32 tags", "", func(r in) { r.Query.Criteria = criteria(1, 32) }),
		get("33 tags", "query.criteria[0].tags", func(r in) { r.Query.Criteria = criteria(1, 33) }),
		get(
			"a value of 4,096 bytes",
			"",
			func(r in) { r.Query.Criteria = []*orisunpb.Criterion{tagged("v", strings.Repeat("x", 4096))} },
		),
		get(
			"a value of 4,097 bytes",
			"value",
			func(r in) { r.Query.Criteria = []*orisunpb.Criterion{tagged("v", strings.Repeat("x", 4097))} },
		),
		{"a page of which nothing says how long has 1,000 events", func(t *trial) {
			v := unique()
			t.save(nil, events(v, 1001)...)
			if n := len(t.get(v, nil)); n != 1000 {
				t.errorf("it has %d", n)
			}
		}},
	}
}

func access() []check {
	// as calls Ping with other credentials than the kit's.
	as := func(t *trial, pairs ...string) (header metadata.MD, err error) {
		conn, err := grpc.NewClient(t.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		defer conn.Close() //nolint:errcheck // a connection for one call
		ctx := metadata.AppendToOutgoingContext(t.ctx, pairs...)
		_, err = orisunpb.NewEventStoreClient(conn).Ping(ctx, &orisunpb.PingRequest{}, grpc.Header(&header))
		return header, err
	}
	return []check{
		{"no credentials are UNAUTHENTICATED", func(t *trial) {
			_, err := as(t)
			t.wantCode("Ping", err, codes.Unauthenticated)
		}},
		{"a wrong token is UNAUTHENTICATED", func(t *trial) {
			_, err := as(t, "x-auth-token", "no token")
			t.wantCode("Ping", err, codes.Unauthenticated)
		}},
		{"an answer has a token, which stands for the password", func(t *trial) {
			var header metadata.MD
			_, err := t.store.Ping(t.ctx, &orisunpb.PingRequest{}, grpc.Header(&header))
			t.wantCode("Ping", err, codes.OK)
			if len(header.Get("x-auth-token")) != 1 {
				t.errorf("x-auth-token is missing in the header")
				return
			}
			header, err = as(t, "x-auth-token", header.Get("x-auth-token")[0])
			t.wantCode("Ping with the token", err, codes.OK)
			if len(header.Get("x-auth-token")) != 1 {
				t.errorf("the answer to the token has none")
			}
		}},
	}
}

func server() []check {
	return []check{
		{"GetServerInfo", func(t *trial) {
			info, err := t.store.GetServerInfo(t.ctx, &orisunpb.GetServerInfoRequest{})
			if err != nil || info.GetVersion() == "" || len(info.GetCapabilities()) == 0 {
				t.errorf("%v, %v", info, err)
			}
		}},
		{"health knows the services", func(t *trial) {
			for _, service := range []string{"", "orisun.EventStore", "orisun.Admin"} {
				answer, err := healthpb.NewHealthClient(t.conn).Check(t.ctx, &healthpb.HealthCheckRequest{Service: service})
				if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
					t.errorf("%q: %v, %v", service, answer, err)
				}
			}
		}},
		{"the boundary is listed and active", func(t *trial) {
			list, err := t.admin.ListBoundaries(t.ctx, &orisunpb.ListBoundariesRequest{})
			active := slices.ContainsFunc(list.GetBoundaries(), func(b *orisunpb.BoundaryInfo) bool {
				return b.GetName() == t.boundary &&
					b.GetStatus() == orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE
			})
			if err != nil || !active {
				t.errorf("%v, %v", list, err)
			}
		}},
		{"GetEventCount is exact", func(t *trial) {
			count := func() int64 {
				answer, err := t.admin.GetEventCount(t.ctx, &orisunpb.GetEventCountRequest{Boundary: t.boundary})
				t.wantCode("GetEventCount", err, codes.OK)
				return answer.GetCount()
			}
			before := count()
			t.save(nil, events("x", 3)...)
			if after := count(); after != before+3 {
				t.errorf("%d after %d and three events", after, before)
			}
		}},
		{"hundreds of streams on a connection do not queue", func(t *trial) {
			ctx, cancel := context.WithCancel(t.ctx)
			defer cancel()
			for range 300 {
				stream, err := t.store.CatchUpSubscribeToEvents(
					ctx,
					&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: t.boundary},
				)
				if err == nil {
					_, err = stream.Header()
				}
				if err != nil {
					t.errorf("a stream does not begin: %v", err)
					return
				}
			}
			t.save(nil, event("x"))
		}},
	}
}
