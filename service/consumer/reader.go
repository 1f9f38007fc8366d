package consumer

import (
	"context"

	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// maxBufferedBytes bounds a consumer's events in memory, with replayed ones; the last one may go beyond it.
const maxBufferedBytes = 4 << 20

// keyOf is the value of the partition key.
func (m *Member) keyOf(event *orisunpb.Event) string {
	if m.def.PartitionKey == "" {
		return ""
	}
	return m.node.config.FieldOf(event, m.def.PartitionKey)
}

// read follows the boundary until ctx ends.
func (m *Member) read(ctx context.Context, after Position) {
	err := m.node.config.Feed.FollowLooking(ctx, m.def.Boundary, after.proto(), m.def.Criteria,
		func(event *orisunpb.Event) error {
			return m.take(ctx, event)
		}, m.look)
	if ctx.Err() == nil {
		m.end(err)
	}
}

func (m *Member) stopReading() {
	m.mu.Lock()
	end := m.endReader
	m.endReader = nil
	m.mu.Unlock()
	if end != nil {
		end()
	}
	m.reader.Wait()
}

// take adds an event to its partition, once there is room for it.
func (m *Member) take(ctx context.Context, event *orisunpb.Event) error {
	key := m.keyOf(event)
	id := PartitionOf(key, m.def.Partitions)
	m.mu.Lock()
	for m.full() {
		m.mu.Unlock()
		select {
		case <-m.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	m.caughtUp = false
	m.looked = later(m.looked, positionOf(event.GetPosition()))
	if p := m.partitions[id]; p != nil && p.add(event, key) {
		m.buffered++
		m.bytes += proto.Size(event)
		m.arrived()
	}
	m.progressed()
	return nil
}

// full returns whether the reader waits for room in memory. The caller holds the lock.
func (m *Member) full() bool { return m.buffered >= 2*m.Client.Window || m.bytes > maxBufferedBytes }

// look takes how far the reader looked. Events that do not match leave a consumer caught up: waking it for each of them
// would cost saves more than deliveries do.
func (m *Member) look(transactionID, globalID int64, caughtUp bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = later(m.looked, Position{transactionID, globalID})
	if caughtUp && !m.caughtUp {
		m.caughtUp = true
		m.wakeUp()
	}
	m.progressed()
}

// progressed has the checkpoints saved. The caller holds the lock.
func (m *Member) progressed() {
	if !m.moved {
		m.moved = true
		m.wakeUp()
	}
	m.dirty.Store(true)
}
