package main

import (
	"strings"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestAGroupThatGotSomethingElse has two events of one key, and what clients and PostgreSQL may not show of them.
func TestAGroupThatGotSomethingElse(t *testing.T) {
	keyed, single := subscriptions[0], subscriptions[1]
	log := logOf("a", "b")
	p := keyed.partitionOf(log[0])
	type deliver func(consumer string, id, epoch int64, count uint32)
	for name, c := range map[string]struct {
		of      subscription
		strict  bool
		happens func(get deliver, g *group)
		says    string
	}{
		"sound": {keyed, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			get("one", 0, 1, 2)
			g.acknowledges(0)
			get("two", 0, 2, 1) // its acknowledgement was lost
			g.acknowledges(0)
			get("two", 1, 2, 1)
			g.acknowledges(1)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 2, checkpoint: 1})
		}, ""},
		"not processed": {keyed, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			g.acknowledges(0)
		}, "event 1 of \"g0-k0\" is not processed"},
		"another order": {keyed, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			get("one", 1, 1, 1)
			g.acknowledges(0)
			g.acknowledges(1)
		}, "event 1 of \"g0-k0\" is delivered before 0 is processed"},
		"two consumers": {keyed, false, func(get deliver, _ *group) {
			get("one", 0, 1, 1)
			get("two", 0, 1, 2)
		}, "two consumers in epoch 1: one and two"},
		"forgotten": {keyed, false, func(get deliver, _ *group) {
			get("one", 0, 1, 1)
			get("one", 0, 1, 1)
		}, "with the count 1 after 1"},
		"a lease ignored": {keyed, false, func(get deliver, g *group) {
			get("two", 0, 2, 1)
			g.since[p] = time.Now().Add(-2 * overlapAfter)
			get("one", 0, 1, 1)
		}, "after another consumer has got events in epoch 2"},
		"ahead": {keyed, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 1, checkpoint: 0})
			g.acknowledges(0)
		}, "is ahead of what is acknowledged: 0 is not"},
		"again": {keyed, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			g.acknowledges(0)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 1, acknowledged: []int64{0}, checkpoint: -1})
			get("two", 0, 2, 1)
		}, "event 0 was stored as acknowledged in epoch 1, and comes again"},
		"back": {keyed, false, func(_ deliver, g *group) {
			g.stored = []stored{{partition: p, epoch: 1, checkpoint: 1}, {partition: p, epoch: 1, checkpoint: 0}}
		}, "went back from 1 in epoch 1 to 0"},
		"together, up to the window": {single, false, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			get("one", 1, 1, 1)
			get("one", 0, 1, 2)
			g.acknowledges(1)
			g.acknowledges(0)
		}, ""},
		"together, with a window of 1": {single, true, func(get deliver, g *group) {
			get("one", 0, 1, 1)
			get("one", 1, 1, 1)
			g.acknowledges(0)
			g.acknowledges(1)
		}, "event 1 of \"\" is delivered before 0 is processed"},
		"the later one first": {single, false, func(get deliver, g *group) {
			get("one", 1, 1, 1)
			get("one", 0, 1, 1)
			g.acknowledges(0)
			g.acknowledges(1)
		}, "event 0 comes in epoch 1 for the first time after 1"},
		"two active consumers": {single, false, func(get deliver, _ *group) {
			get("one", 0, 1, 1)
			get("two", 1, 1, 1)
		}, "two consumers in epoch 1: one and two"},
	} {
		g := newGroup(nil, c.of, c.strict)
		c.happens(func(consumer string, id, epoch int64, count uint32) {
			g.delivered(&client{id: consumer, n: &node{}}, &orisunpb.Delivery{
				Event: log[id], Partition: c.of.partitionOf(log[id]), Epoch: epoch, DeliveryCount: count,
			}, true)
		}, g)
		if said := strings.Join(g.check(log), "\n"); !strings.Contains(said, c.says) || (c.says == "") != (said == "") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
