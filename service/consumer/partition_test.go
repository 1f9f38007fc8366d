package consumer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestTheCheckpointIsNeverAheadOfWhatIsAcknowledged does at random what readers and clients do, and stores and loads
// the partition as a failover does.
func TestTheCheckpointIsNeverAheadOfWhatIsAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keyed := rapid.Bool().Draw(t, "keyed")
		now := time.Unix(0, 0)
		p := newPartition(0, 1, keyed, false, Position{-1, -1}, nil, nil)
		var looked Position
		looked.GlobalID = -1
		keys, settled := map[int64]string{}, map[int64]bool{}
		got, deliveries := map[int64]int{}, 0 // when the client got each event first, since it refused it
		next := int64(0)
		add := func(id int64) {
			p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: id, TransactionId: id + 1}}, keys[id])
			looked = later(looked, Position{id + 1, id})
		}
		anyOut := func() *item {
			for id := range next {
				if it := p.out[id]; it != nil && rapid.Bool().Draw(t, "this one") {
					return it
				}
			}
			return nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				keys[next] = fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "key"))
				add(next)
				next++
			},
			"deliver": func(t *rapid.T) {
				it := p.next(now, time.Minute)
				if it == nil {
					return
				}
				if deliveries++; got[it.at.GlobalID] == 0 {
					got[it.at.GlobalID] = deliveries
				}
				for id := range it.at.GlobalID {
					if keyed && keys[id] == it.key && !settled[id] {
						t.Fatalf("event %d is delivered before %d of its key is settled", it.at.GlobalID, id)
					}
				}
			},
			"acknowledge": func(*rapid.T) {
				if it := anyOut(); it != nil {
					settled[it.at.GlobalID] = true
					p.settle(it)
				}
			},
			"acknowledge through": func(t *rapid.T) {
				id := rapid.Int64Range(-1, next).Draw(t, "through")
				covered, err := p.through(id)
				if errors.Is(err, ErrNotDelivered) != (id > p.head.GlobalID && p.delivered(id) == nil) {
					t.Fatalf("through %d: %v, and the checkpoint is %d", id, err, p.head.GlobalID)
				}
				for _, it := range covered {
					if at := got[it.at.GlobalID]; it.at.GlobalID > id || at == 0 || at > got[id] {
						t.Fatalf("through %d covers %d, which the client has not got before it", id, it.at.GlobalID)
					}
					settled[it.at.GlobalID] = true
					p.settle(it)
				}
			},
			"refuse": func(*rapid.T) {
				if it := anyOut(); it != nil {
					p.refuse(it, "", now, 1000)
					got[it.at.GlobalID] = 0
				}
			},
			"time passes": func(*rapid.T) {
				now = now.Add(2 * time.Minute)
				p.expire(now)
			},
			"fail over": func(*rapid.T) {
				at := p.checkpoint(looked)
				p = newPartition(0, p.epoch+1, keyed, false, at, p.beyond(), nil)
				looked = at
				clear(got)
				for id := at.GlobalID + 1; id < next; id++ {
					add(id)
				}
				for id := range next {
					if (p.items[id] == nil) != settled[id] {
						t.Fatalf("after a failover event %d waits: %v, and is settled: %v", id, p.items[id] != nil, settled[id])
					}
				}
			},
			"": func(t *rapid.T) {
				for id := range p.checkpoint(looked).GlobalID + 1 {
					if !settled[id] {
						t.Fatalf("the checkpoint is %d, and event %d is not settled", p.checkpoint(looked).GlobalID, id)
					}
				}
			},
		})
	})
}

// The partition of a key never changes: stored checkpoints depend on it.
func TestThePartitionOfAKeyIsFixed(t *testing.T) {
	for key, want := range map[string]int32{"": 4, "a": 10, "order-17": 0} {
		if got := PartitionOf(key, 16); got != want {
			t.Errorf("the partition of %q is %d, want %d", key, got, want)
		}
	}
}

// A cumulative acknowledgement covers nothing that the client may not have, or has refused.
func TestACumulativeAcknowledgementCoversWhatWasDeliveredBefore(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPartition(0, 1, true, false, Position{-1, -1}, nil, nil)
	for id, key := range []string{"a", "a", "b", "c"} {
		p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: int64(id)}}, key)
	}
	for p.next(now, time.Minute) != nil { // 0, 2 and 3
	}
	p.settle(p.items[0])
	if it := p.next(now, time.Minute); it == nil || it.at.GlobalID != 1 {
		t.Fatalf("once event 0 is settled, %v is delivered", it)
	}
	p.refuse(p.items[2], "", now, 10)
	covered, err := p.through(3)
	if err != nil || len(covered) != 1 || covered[0].at.GlobalID != 3 {
		t.Errorf("through 3 covers %v, %v: event 1 was delivered after it, and 2 is refused", covered, err)
	}
	if _, err := p.through(4); !errors.Is(err, ErrNotDelivered) {
		t.Errorf("through an event that was not delivered: %v", err)
	}
}

// Where there is no room to park, a refused event is delivered again later, and those behind parked ones wait.
func TestWithoutRoomToParkTheOrderOfAKeyHolds(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPartition(0, 1, true, true, Position{-1, -1}, nil, []string{"parked"})
	add := func(id int64, key string) {
		p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: id}}, key)
	}
	add(0, "parked")
	add(1, "other")
	add(2, "parked")
	refused := p.next(now, time.Minute)
	if refused == nil || refused.at.GlobalID != 1 {
		t.Fatalf("delivered: %v", refused)
	}
	p.refuse(refused, "bad", now, 1)
	p.cannotPark(now.Add(lastBackoff))
	p.expire(now.Add(lastBackoff))
	if again := p.next(now, time.Minute); again != refused || p.next(now, time.Minute) != nil {
		t.Errorf("delivered again: %v", again)
	}
	if len(p.parking) != 2 || p.parking[0].at.GlobalID != 0 || p.parkAfter != now.Add(lastBackoff) {
		t.Errorf("behind a parked event: %v", p.parking)
	}
	p.nothingParked("parked")
	add(3, "parked")
	p.settle(refused)
	if at := p.checkpoint(Position{9, 9}); at.GlobalID != -1 {
		t.Errorf("the checkpoint is %v, and event 0 is not settled", at)
	}
	for _, want := range []int64{0, 2, 3} {
		it := p.next(now, time.Minute)
		if it == nil || it.at.GlobalID != want || p.next(now, time.Minute) != nil {
			t.Fatalf("once nothing is parked %v comes, want %d alone", it, want)
		}
		p.settle(it)
	}
}

// A cumulative acknowledgement covers replayed events, which are before the checkpoint.
func TestACumulativeAcknowledgementCoversReplayedEvents(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPartition(0, 1, false, false, Position{10, 9}, nil, nil)
	event := func(id int64) *orisunpb.Event {
		return &orisunpb.Event{Position: &orisunpb.Position{GlobalId: id}}
	}
	for _, id := range []int64{1, 2, 3} {
		p.replay(event(id), "")
	}
	p.add(event(10), "")
	for range 2 {
		p.next(now, time.Minute)
	}
	for through, want := range map[int64]int{0: 0, 1: 1, 2: 2, 3: 0, 9: 0} {
		if covered, err := p.through(through); err != nil || len(covered) != want {
			t.Errorf("through %d covers %v, %v; want %d events", through, covered, err, want)
		}
	}
	for p.next(now, time.Minute) != nil {
	}
	p.refuse(p.replays[2], "", now, 10)
	covered, err := p.through(10)
	ids := make(map[int64]bool)
	for _, it := range covered {
		ids[it.at.GlobalID] = true
	}
	if err != nil || len(ids) != 3 || ids[2] {
		t.Errorf("through 10 covers %v, %v; want all but the refused 2", ids, err)
	}
}
