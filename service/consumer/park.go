package consumer

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// replayPage is how many parked events are read at a time.
const replayPage = 100

// park stores what is to be parked, and removes replayed events that are acknowledged. What fails is tried again at the
// next look.
func (m *Member) park(ctx context.Context) error {
	type work struct {
		p      *partition
		it     *item
		stored item // as it is now
	}
	var todo []work
	m.mu.Lock()
	for _, p := range m.partitions {
		for _, it := range p.parking {
			if time.Now().After(it.parkAfter) {
				todo = append(todo, work{p, it, *it})
			}
		}
	}
	m.mu.Unlock()
	for _, w := range todo {
		outcome, err := m.node.storeParked(ctx, m, w.p, w.stored)
		switch {
		case err != nil:
			return err
		case outcome == parkedFenced:
			m.fenced(w.p, false)
			m.node.refreshNow(m.group())
			continue
		}
		m.mu.Lock()
		m.parkedAs(w.p, w.it, outcome)
		m.mu.Unlock()
		if outcome == parkedFull {
			return nil // nor is there room for others
		}
	}
	return nil
}

// parkedAs applies the outcome of an event's parking. The caller holds the lock.
func (m *Member) parkedAs(p *partition, it *item, outcome string) {
	if outcome == parkedFull {
		p.cannotPark(time.Now().Add(lastBackoff))
		return
	}
	p.notParking(it)
	if outcome == parkedNone {
		p.nothingParked(it.originalKey())
	}
	switch {
	case it.replayed:
		p.settle(it)
	case outcome == parkedNone: // it is not behind a parked event any more
		p.enqueue(it)
		m.wakeUp()
		return
	default:
		m.forget(it)
		p.parked(it)
	}
	m.settled()
}

// replay reads parked events that are to be delivered again. What fails is tried again at the next look.
func (m *Member) replay(ctx context.Context) {
	m.mu.Lock()
	var replays []*partition
	for _, p := range m.partitions {
		if p.replayMore && len(p.replays) == 0 && !p.stopped {
			replays = append(replays, p)
		}
	}
	m.mu.Unlock()
	for _, p := range replays {
		events, err := m.node.readReplays(ctx, m, p)
		if err != nil {
			return
		}
		m.mu.Lock()
		p.replayMore = len(events) > 0
		for _, event := range events {
			p.replay(event, m.keyOf(event))
		}
		m.mu.Unlock()
		m.wakeUp()
	}
}

// The outcomes of orisun.park_event and orisun.settle_parked.
const (
	parkedFenced = "fenced"
	parkedFull   = "full"
	parkedNone   = "none"
)

// storeParked stores an event as parked, or removes a replayed one that is acknowledged.
func (n *Node) storeParked(ctx context.Context, m *Member, p *partition, it item) (outcome string, err error) {
	if it.acknowledged {
		outcome, err = n.queries.SettleParked(ctx, n.config.Pool, db.SettleParkedParams{
			Boundary: m.def.Boundary, Subscription: m.def.Name, Partition: p.id, Epoch: p.epoch, GlobalID: it.at.GlobalID,
			Key: it.originalKey(),
		})
	} else {
		outcome, err = n.queries.ParkEvent(ctx, n.config.Pool, db.ParkEventParams{
			Boundary: m.def.Boundary, Subscription: m.def.Name, Partition: p.id, Epoch: p.epoch, GlobalID: it.at.GlobalID,
			Key:    it.originalKey(),
			Reason: it.reason, Refusals: int32(it.refusals), ParkedLimit: int32(n.config.MaxParked),
		})
	}
	if err != nil && ctx.Err() == nil {
		n.config.Log.WarnContext(ctx, "cannot park an event; trying again", "boundary", m.def.Boundary,
			"subscription", m.def.Name, "error", err)
	}
	if outcome == parkedFull && m.mayLogFull() {
		n.config.Log.WarnContext(ctx, "a subscription has as many parked events as it may: replay or skip some",
			"boundary", m.def.Boundary, "subscription", m.def.Name, "limit", n.config.MaxParked,
			"variable", "ORISUN_MAX_PARKED_EVENTS")
	}
	return outcome, err
}

// mayLogFull limits the log to one line of a consumer in the time after which parking is tried again.
func (m *Member) mayLogFull() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.loggedFull) < lastBackoff {
		return false
	}
	m.loggedFull = time.Now()
	return true
}

// readReplays reads the next parked events of a partition that are to be delivered again.
func (n *Node) readReplays(ctx context.Context, m *Member, p *partition) ([]*orisunpb.Event, error) {
	rows, err := n.queries.ListParked(ctx, n.config.Pool, db.ListParkedParams{
		Boundary: m.def.Boundary, Subscription: m.def.Name, Partition: p.id, Replaying: true, After: -1, Count: replayPage,
	})
	events := make([]*orisunpb.Event, len(rows))
	for i, row := range rows {
		events[i] = ParkedEvent(row)
	}
	return events, err
}

// ParkedEvent is the event of a row of orisun.list_parked.
func ParkedEvent(row db.ListParkedRow) *orisunpb.Event {
	return &orisunpb.Event{
		EventId: row.EventID, EventType: row.EventType, Data: row.Data, Metadata: row.Metadata,
		Position:    &orisunpb.Position{TransactionId: row.TransactionID, GlobalId: row.GlobalID},
		DateCreated: timestamppb.New(row.DateCreated),
	}
}
