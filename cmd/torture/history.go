package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	orisunpb "github.com/oexza/orisun/proto"
)

// Contexts are sets of keys of one group. Groups have nothing in common, so the history of each group is checked
// alone. That makes the search short: a history is linearizable when those of its groups are.
const (
	groups       = 6
	keysPerGroup = 3
)

// keys is a set of a group's keys, a bit each.
type keys uint8

// request is a client's request to a group: to read the latest event of a context, or to append events if there is
// none after expected.
type request struct {
	group    int
	context  keys
	save     bool
	expected int64  // the global_id that the decision saw; -1 for none
	events   []keys // the keys of each event to save
}

// response is the global_id that was read, or that of the save's last event, or that of the conflicting event.
type response struct {
	position int64
	conflict bool
}

// state is the global_id of the latest event of each key, -1 for none.
type state [keysPerGroup]int64

func (s state) latest(context keys) (last int64) {
	last = -1
	for key, at := range s {
		if context&(1<<key) != 0 {
			last = max(last, at)
		}
	}
	return last
}

// model is the complete guarantee: a read returns the latest event of its context, and a save appends if its context
// has none after the expected one.
var model = porcupine.Model{
	Init: func() any {
		s := state{}
		for key := range s {
			s[key] = -1
		}
		return s
	},
	Step: func(before, asked, answered any) (bool, any) {
		s, q, a := before.(state), asked.(request), answered.(response)
		latest := s.latest(q.context)
		switch {
		case !q.save:
			return a.position == latest, s
		case a.conflict:
			return latest > q.expected && a.position == latest, s
		case latest > q.expected || a.position-int64(len(q.events)) < s.latest(math.MaxUint8):
			return false, s
		}
		for i, event := range q.events {
			for key := range s {
				if event&(1<<key) != 0 {
					s[key] = a.position - int64(len(q.events)-1-i)
				}
			}
		}
		return true, s
	},
	DescribeOperation: func(asked, answered any) string {
		q, a := asked.(request), answered.(response)
		switch {
		case !q.save:
			return fmt.Sprintf("read %03b: %d", q.context, a.position)
		case a.conflict:
			return fmt.Sprintf("save %03b after %d: conflict with %d", q.context, q.expected, a.position)
		}
		return fmt.Sprintf("save %03b after %d: at %d", q.context, q.expected, a.position)
	},
}

// operation is one call, retries included, as its client saw it. Times are since the round's start.
type operation struct {
	client        int
	id            string // of the save; its events are id.0, id.1 …
	sent          request
	received      response
	known         bool // an answer arrived
	called, ended time.Duration
	attempts      int
	seen          []string // the ids of a read of the whole context, where it was one
	seenPositions []int64
}

// complete finds the outcome of saves of unknown outcome in the final log. An event that is not there will never be,
// as nothing runs any more. It returns the operations that have an outcome.
func complete(operations []*operation, log []*orisunpb.Event) (completed []*operation, unknown int) {
	at := map[string]int64{}
	for i, event := range log {
		at[event.GetEventId()] = int64(i)
	}
	for _, o := range operations {
		if o.known {
			completed = append(completed, o)
			continue
		}
		unknown++
		if last, stored := at[eventID(o.id, len(o.sent.events)-1)]; stored {
			o.received, o.ended = response{position: last}, math.MaxInt64
			completed = append(completed, o)
		}
	}
	return completed, unknown
}

func eventID(save string, i int) string { return fmt.Sprintf("%s.%d", save, i) }

// searchLimit is how long porcupine may search in a group's history before the history counts as undecided.
const searchLimit = 30 * time.Second

// checkLinearizable searches for a valid order of each group's operations. Where there is none, it writes a picture
// to dir.
func checkLinearizable(operations []*operation, dir string) (anomalies []string, undecided int, err error) {
	for group := range groups {
		var history []porcupine.Operation
		for _, o := range operations {
			if o.sent.group == group {
				history = append(history, porcupine.Operation{
					ClientId: o.client, Input: o.sent, Output: o.received, Call: int64(o.called), Return: int64(o.ended),
				})
			}
		}
		switch porcupine.CheckOperationsTimeout(model, history, searchLimit) {
		case porcupine.Unknown:
			undecided++
		case porcupine.Illegal:
			_, info := porcupine.CheckOperationsVerbose(model, history, searchLimit)
			path := fmt.Sprintf("%s/group-%d.html", dir, group)
			file, err := os.Create(path)
			if err != nil {
				return anomalies, undecided, err
			}
			if err := porcupine.Visualize(model, info, file); err != nil {
				return anomalies, undecided, err
			}
			if err := file.Close(); err != nil {
				return anomalies, undecided, err
			}
			anomalies = append(anomalies,
				fmt.Sprintf("history: group %d is not linearizable (%d operations): open %s", group, len(history), path))
		case porcupine.Ok:
		}
	}
	return anomalies, undecided, nil
}

// checkAnswers compares the answers of clients with the log. Each acknowledged event is in the log once, at the
// acknowledged position. Each context that was read is what the log has up to there. Positions follow time: an event
// that was acknowledged before a save began is before that save.
func checkAnswers(operations []*operation, log []*orisunpb.Event) (anomalies []string) {
	say := func(format string, args ...any) {
		anomalies = append(anomalies, "answers: "+fmt.Sprintf(format, args...))
	}
	for _, o := range operations {
		switch {
		case o.sent.save && !o.received.conflict:
			for i := range o.sent.events {
				at := o.received.position - int64(len(o.sent.events)-1-i)
				if at < 0 || at >= int64(len(log)) || log[at].GetEventId() != eventID(o.id, i) {
					say("event %s was acknowledged at %d and is not there", eventID(o.id, i), at)
				}
			}
		case o.seen != nil:
			var want []string
			for _, event := range log[:min(o.received.position+1, int64(len(log)))] {
				if matches(event, o.sent.group, o.sent.context) {
					want = append(want, event.GetEventId())
				}
			}
			if strings.Join(want, " ") != strings.Join(o.seen, " ") {
				say("context %d/%03b was read up to %d as %d events, the log has %d, or others", o.sent.group, o.sent.context,
					o.received.position, len(o.seen), len(want))
			}
			for i, id := range o.seen {
				if at := o.seenPositions[i]; at >= int64(len(log)) || log[at].GetEventId() != id {
					say("event %s was read at %d and is not there any more", id, at)
				}
			}
		}
	}
	return append(anomalies, checkTime(operations)...)
}

// checkTime finds saves with a smaller position than one that was acknowledged before they began, in any group.
func checkTime(operations []*operation) (anomalies []string) {
	var saves []*operation
	for _, o := range operations {
		if o.sent.save && !o.received.conflict {
			saves = append(saves, o)
		}
	}
	ends := make([]*operation, len(saves))
	copy(ends, saves)
	byTime(saves, func(o *operation) time.Duration { return o.called })
	byTime(ends, func(o *operation) time.Duration { return o.ended })
	last, next := int64(-1), 0
	for _, o := range saves {
		for ; next < len(ends) && ends[next].ended < o.called; next++ {
			last = max(last, ends[next].received.position)
		}
		if o.received.position <= last {
			anomalies = append(anomalies,
				fmt.Sprintf("answers: save %s got position %d after %d was acknowledged", o.id, o.received.position, last))
		}
	}
	return anomalies
}

// firstOf is the number of the smallest key of a set.
func firstOf(k keys) int { return bits.TrailingZeros8(uint8(k)) }
