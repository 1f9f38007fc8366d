package main

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

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
