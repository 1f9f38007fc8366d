package publisher

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestARingThatHoldsACursorHasEveryEventAfterIt feeds a ring with a stream that loses, repeats and begins again, and
// asks for what lies after all kinds of positions, those of no event included.
func TestARingThatHoldsACursorHasEveryEventAfterIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		r := newRing(rapid.IntRange(1, 8).Draw(t, "events"), rapid.IntRange(1, 8).Draw(t, "bytes")*(entryOverhead+100))
		for i := 0; i < len(log); {
			switch rapid.IntRange(0, 5).Draw(t, "stream") {
			case 0: // a loss
				i += rapid.IntRange(1, 3).Draw(t, "lost")
			case 1: // again from before
				i = max(0, i-rapid.IntRange(1, 3).Draw(t, "back"))
			}
			if i >= len(log) {
				break
			}
			r.add(newEntry(log[i].event), log[i].previous)
			i++
			for range 5 {
				p := drawPosition(t, log)
				if !r.holds(p) {
					continue
				}
				want := ""
				for _, l := range log {
					if at := positionOf(l.event.GetPosition()); p.before(at) && !r.end.before(at) {
						want += fmt.Sprint(at)
					}
				}
				got := ""
				for e := r.after(p); e != nil; e = r.after(e.at) {
					got += fmt.Sprint(e.at)
				}
				if got != want {
					t.Fatalf("after %v the ring has %s, the boundary %s", p, got, want)
				}
			}
			if len(r.entries) > r.maxEvents || r.bytes > r.maxBytes {
				t.Fatalf("%d events of %d bytes, at most %d of %d are allowed", len(r.entries), r.bytes, r.maxEvents, r.maxBytes)
			}
		}
	})
}

// TestASubscriberThatFollowsStaysInTheRing is the point of a ring: without it every event would cost every subscriber a
// query.
func TestASubscriberThatFollowsStaysInTheRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		r := newRing(100, 1<<20)
		from := rapid.IntRange(0, len(log)-1).Draw(t, "from")
		cursor := beginning
		for i := from; i < len(log); i++ {
			r.add(newEntry(log[i].event), log[i].previous)
			at := positionOf(log[i].event.GetPosition())
			if i > from {
				e := r.after(cursor)
				if !r.holds(cursor) || e == nil || e.at != at {
					t.Fatalf("the cursor %v fell out of the ring (%v, %v]", cursor, r.start, r.end)
				}
			}
			cursor = at
		}
	})
}

func TestAnEventLargerThanTheRingIsLeftToPostgres(t *testing.T) {
	r := newRing(10, 100)
	e := newEntry(&orisunpb.Event{Data: `{"a": 1}`, Position: &orisunpb.Position{TransactionId: 1}})
	if !r.add(e, NoPrevious) || len(r.entries) != 0 || r.holds(beginning) || !r.holds(e.at) || r.after(e.at) != nil {
		t.Errorf("the ring is %+v: want it empty, and to begin after the event", r)
	}
}

type logged struct {
	event    *orisunpb.Event
	previous int64
}

// drawLog makes the events of a boundary: saves of one to four events, and sometimes a global_id that was never used.
func drawLog(t *rapid.T) (log []logged) {
	next, previous := int64(0), NoPrevious
	for range rapid.IntRange(1, 15).Draw(t, "saves") {
		if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
			next += 2
		}
		size := rapid.Int64Range(1, 4).Draw(t, "size")
		for i := range size {
			at := &orisunpb.Position{TransactionId: next + size, GlobalId: next + i}
			log = append(log, logged{&orisunpb.Event{Data: `{"a": 1}`, Position: at}, previous})
			previous = next + i
		}
		next += size
	}
	return log
}

func drawPosition(t *rapid.T, log []logged) position {
	if rapid.Bool().Draw(t, "stored") {
		return positionOf(rapid.SampledFrom(log).Draw(t, "event").event.GetPosition())
	}
	most := int64(2 * len(log))
	return position{rapid.Int64Range(-1, most).Draw(t, "transaction_id"), rapid.Int64Range(-1, most).Draw(t, "global_id")}
}
