package consumer

import (
	"time"

	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// Settle applies settlements. stale reports that one names a partition or an epoch that the consumer does not hold.
func (m *Member) Settle(
	acknowledge []*orisunpb.Acknowledgement, refuse []*orisunpb.Refusal, delay []*orisunpb.Delay,
) (stale bool, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.settled()
	for _, a := range acknowledge {
		p := m.held(a.GetPartition(), a.GetEpoch())
		if p == nil {
			stale = true
			m.missed()
			continue
		}
		covered, err := p.covered(a)
		if err != nil {
			return stale, err
		}
		for _, it := range covered {
			m.done(p, it)
		}
	}
	for _, r := range refuse {
		p, it, err := m.delivered(r.GetPartition(), r.GetEpoch(), r.GetPosition())
		if err != nil {
			return stale, err
		}
		stale = stale || p == nil
		if it != nil {
			p.refuse(it, r.GetReason(), now, m.def.MaxRefusals)
		}
	}
	for _, d := range delay {
		p, it, err := m.delivered(d.GetPartition(), d.GetEpoch(), d.GetPosition())
		if err != nil {
			return stale, err
		}
		stale = stale || p == nil
		if it != nil {
			it.sent = 0
			p.take(it, now.Add(d.GetDelay().AsDuration()))
		}
	}
	return stale, nil
}

// settled wakes what waits for settlements. The caller holds the lock.
func (m *Member) settled() {
	m.dirty.Store(true)
	signal(m.room)
	if !m.moved || m.hasWork() {
		m.moved = true
		m.wakeUp()
	}
}

// hasWork returns whether Run has something to do after a settlement, unless it looks again soon, since it gathers
// events. The caller holds the lock.
func (m *Member) hasWork() bool {
	gathers := m.awaited > 0
	for _, p := range m.partitions {
		if p.atOnce || len(p.parking) > 0 || len(p.ready) > 0 && !gathers {
			return true
		}
	}
	return m.caughtUp && !m.saidCaughtUp && !gathers && !m.waiting()
}

// done settles an event. A replayed one is removed from the parked ones first.
func (m *Member) done(p *partition, it *item) {
	if it.done {
		return
	}
	if it.replayed {
		it.acknowledged = true
		p.toPark(it, time.Now().Add(lastBackoff))
		return
	}
	m.forget(it)
	p.settle(it)
}

// forget gives an event's room in memory to others. The caller holds the lock.
func (m *Member) forget(it *item) {
	if !it.replayed {
		m.buffered--
	}
	m.bytes -= proto.Size(it.event)
}

// delivered returns a partition, nil where the consumer does not hold it, and an unsettled event of it; nil where it is
// settled already.
func (m *Member) delivered(id uint32, epoch int64, at *orisunpb.Position) (p *partition, it *item, err error) {
	if p = m.held(id, epoch); p != nil {
		it, err = p.find(at.GetGlobalId())
	}
	return p, it, err
}

func (m *Member) held(id uint32, epoch int64) *partition {
	if p := m.partitions[int32(id)]; p != nil && p.epoch == epoch {
		return p
	}
	return nil
}
