package consumer

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// replayPage is how many parked events of a partition are read at a time.
const replayPage = 100

// park stores what is to be parked, and removes replayed events that are acknowledged. What fails is tried again at the
// next look.
func (m *Member) park(ctx context.Context) error {
	type work struct {
		p  *partition
		it *item
	}
	var todo []work
	m.mu.Lock()
	for _, p := range m.partitions {
		for _, it := range p.parking {
			if it.deliveries > 0 || time.Now().After(p.parkAfter) {
				todo = append(todo, work{p, it})
			}
		}
	}
	m.mu.Unlock()
	for _, w := range todo {
		m.mu.Lock()
		still, now := slices.Contains(w.p.parking, w.it), *w.it
		m.mu.Unlock()
		if !still {
			continue
		}
		outcome, err := m.node.storeParked(ctx, m, w.p, now)
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

// parkedAs applies the outcome of an event's parking, unless the client settled it or the partition was dropped in the
// meantime. The caller holds the lock.
func (m *Member) parkedAs(p *partition, it *item, outcome string) {
	if it.done || m.partitions[p.id] != p {
		return
	}
	if outcome == parkedFull {
		p.cannotPark(time.Now().Add(lastBackoff))
		return
	}
	if outcome == parkedNone {
		p.nothingParked(it.originalKey())
		m.wakeUp()
	}
	switch {
	case it.replayed:
		m.forget(it)
		p.settle(it)
	case outcome != parkedNone:
		m.forget(it)
		p.parked(it)
	default: // it is not behind a parked event any more
		return
	}
	m.settled()
}

// replay reads parked events that are to be delivered again, while there is room for them. What fails is tried again at
// the next look.
func (m *Member) replay(ctx context.Context) {
	for p, room := m.toReplay(); p != nil; p, room = m.toReplay() {
		events, err := m.node.readReplays(ctx, m, p, room)
		m.mu.Lock()
		p.replayMore = p.replayMore || len(events) > 0 || err != nil
		for _, event := range events {
			if p.replay(event, m.keyOf(event)) {
				m.bytes += proto.Size(event)
			}
		}
		m.mu.Unlock()
		if err != nil && !m.replayFailing && ctx.Err() == nil {
			m.node.config.Log.WarnContext(ctx, "cannot read the parked events to replay; trying again",
				"boundary", m.def.Boundary, "subscription", m.def.Name, "error", err)
		}
		if m.replayFailing = err != nil; err != nil {
			return
		}
		m.wakeUp()
	}
}

// toReplay returns the next partition to read replays of, nil for none, and how many bytes they may take; the last one
// may go beyond. Where memory is full, one replay at a time is read: the events that fill it may wait for the parked
// ones of their keys.
func (m *Member) toReplay() (next *partition, room int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	replaying := false
	for _, p := range m.partitions {
		replaying = replaying || len(p.replays) > 0
		if p.waitsForReplays() {
			next = p
		}
	}
	room = max(maxBufferedBytes-m.bytes, 0)
	if next == nil || room == 0 && replaying {
		return nil, 0
	}
	next.replayMore = false // before the read: a replay that it does not see yet sets it again
	return next, room
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

// readReplays reads the next parked events of a partition that are to be delivered again, as far as there is room.
func (n *Node) readReplays(ctx context.Context, m *Member, p *partition, room int) ([]*orisunpb.Event, error) {
	rows, err := n.queries.ListReplays(ctx, n.config.Pool, db.ListReplaysParams{
		Boundary: m.def.Boundary, Subscription: m.def.Name, Partition: p.id, Count: replayPage, Bytes: int64(room),
	})
	events := make([]*orisunpb.Event, len(rows))
	for i, row := range rows {
		events[i] = replayedEvent(row)
	}
	return events, err
}

// ParkedEvent is the event of a row of orisun.list_parked.
func ParkedEvent(row db.ListParkedRow) *orisunpb.Event {
	return replayedEvent(db.ListReplaysRow{
		GlobalID: row.GlobalID, TransactionID: row.TransactionID, DateCreated: row.DateCreated,
		EventID: row.EventID, EventType: row.EventType, Data: row.Data, Metadata: row.Metadata,
	})
}

// replayedEvent is the event of a row of orisun.list_replays.
func replayedEvent(row db.ListReplaysRow) *orisunpb.Event {
	return &orisunpb.Event{
		EventId: row.EventID, EventType: row.EventType, Data: row.Data, Metadata: row.Metadata,
		Position:    &orisunpb.Position{TransactionId: row.TransactionID, GlobalId: row.GlobalID},
		DateCreated: timestamppb.New(row.DateCreated),
	}
}
