package main

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

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
		{"a conflict names the conflicting event", func(t *trial) {
			v := unique()
			first, conflicting := t.save(nil, event(v)), event(v)
			t.save(nil, conflicting)
			_, err := t.trySave(condition(first, tagged("v", v)), event(v))
			details := t.wantReason("the save", err, codes.AlreadyExists, "CONTEXT_CHANGED")
			if details["event_id"] != conflicting.GetEventId() || details["event_type"] != conflicting.GetEventType() {
				t.errorf("the details say %v, want event_id %s and its event_type", details, conflicting.GetEventId())
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
