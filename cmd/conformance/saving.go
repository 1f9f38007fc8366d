package main

import (
	"fmt"
	"strings"

	orisunpb "github.com/oexza/orisun/proto"
)

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
		{"a save has one transaction_id, its last global_id plus 1", func(t *trial) {
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
