package main

import (
	"strings"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestAGroupThatGotSomethingElse has two events of one key, and what clients and PostgreSQL may not show of them.
func TestAGroupThatGotSomethingElse(t *testing.T) {
	log := logOf("a", "b")
	p := partitionOf(keyOf(log[0]))
	for name, c := range map[string]struct {
		happens func(get func(consumer string, id, epoch int64, count uint32), g *group)
		says    string
	}{
		"sound": {func(get func(string, int64, int64, uint32), g *group) {
			get("one", 0, 1, 1)
			get("one", 0, 1, 2)
			g.acknowledges(0)
			get("two", 0, 2, 1) // its acknowledgement was lost
			g.acknowledges(0)
			get("two", 1, 2, 1)
			g.acknowledges(1)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 2, checkpoint: 1})
		}, ""},
		"not processed": {func(get func(string, int64, int64, uint32), g *group) {
			get("one", 0, 1, 1)
			g.acknowledges(0)
		}, "event 1 of \"g0-k0\" is not processed"},
		"another order": {func(get func(string, int64, int64, uint32), g *group) {
			get("one", 0, 1, 1)
			get("one", 1, 1, 1)
			g.acknowledges(0)
			g.acknowledges(1)
		}, "event 1 of \"g0-k0\" is delivered before 0 is processed"},
		"two consumers": {func(get func(string, int64, int64, uint32), _ *group) {
			get("one", 0, 1, 1)
			get("two", 0, 1, 2)
		}, "two consumers in epoch 1: one and two"},
		"forgotten": {func(get func(string, int64, int64, uint32), _ *group) {
			get("one", 0, 1, 1)
			get("one", 0, 1, 1)
		}, "with the count 1 after 1"},
		"a lease ignored": {func(get func(string, int64, int64, uint32), g *group) {
			get("two", 0, 2, 1)
			g.since[p] = time.Now().Add(-2 * overlapAfter)
			get("one", 0, 1, 1)
		}, "after another consumer has got events in epoch 2"},
		"ahead": {func(get func(string, int64, int64, uint32), g *group) {
			get("one", 0, 1, 1)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 1, checkpoint: 0})
			g.acknowledges(0)
		}, "is ahead of what is acknowledged: 0 is not"},
		"again": {func(get func(string, int64, int64, uint32), g *group) {
			get("one", 0, 1, 1)
			g.acknowledges(0)
			g.stored = append(g.stored, stored{step: g.step, partition: p, epoch: 1, acknowledged: []int64{0}, checkpoint: -1})
			get("two", 0, 2, 1)
		}, "event 0 was stored as acknowledged in epoch 1, and comes again"},
		"back": {func(_ func(string, int64, int64, uint32), g *group) {
			g.stored = []stored{{partition: p, epoch: 1, checkpoint: 1}, {partition: p, epoch: 1, checkpoint: 0}}
		}, "went back from 1 in epoch 1 to 0"},
	} {
		g := newGroup(nil)
		c.happens(func(consumer string, id, epoch int64, count uint32) {
			g.delivered(&client{id: consumer, n: &node{}}, &orisunpb.Delivery{
				Event: log[id], Partition: p, Epoch: epoch, DeliveryCount: count,
			}, true)
		}, g)
		if said := strings.Join(g.check(log), "\n"); !strings.Contains(said, c.says) || (c.says == "") != (said == "") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
