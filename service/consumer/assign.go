package consumer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// releaseGrace is how long a client may settle events of a partition that is to move.
const releaseGrace = 2 * time.Second

// holding is what PostgreSQL says that a consumer holds.
type holding struct {
	partition         int32
	epoch             int64
	moving, replaying bool
}

// assign compares what the consumer holds with what PostgreSQL says.
func (m *Member) assign(ctx context.Context, held []holding) error {
	added := m.compare(held)
	if len(added) == 0 {
		return nil
	}
	rows, err := m.node.readCheckpoints(ctx, m, slices.Collect(maps.Keys(added)))
	if err != nil {
		return err
	}
	m.stopReading()
	m.hold(rows, added)
	for _, h := range added {
		if h.moving { // the next comparison releases it
			m.node.refreshNow(m.group())
		}
	}
	return nil
}

// compare drops partitions that the consumer has lost, stops those that are to move, and returns those that it is to
// begin with.
func (m *Member) compare(held []holding) (added map[int32]holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.wakeUp()
	added = make(map[int32]holding)
	epochs := make(map[int32]int64)
	var lost, moving []*partition
	for _, h := range held {
		epochs[h.partition] = h.epoch
		p := m.partitions[h.partition]
		switch {
		case h.epoch <= m.released[h.partition] && h.epoch > 0: // the read was before the release
		case p == nil || p.epoch != h.epoch:
			added[h.partition] = h
		case h.moving && !p.stopped:
			p.stop(m.looked, time.Now().Add(releaseGrace))
			moving = append(moving, p)
		case h.replaying:
			p.replayMore = true
		}
	}
	for id, p := range m.partitions {
		if epoch, still := epochs[id]; !still || epoch != p.epoch {
			lost = append(lost, p)
			m.drop(p)
		}
	}
	if len(moving) > 0 {
		m.frames = append(m.frames, &orisunpb.ConsumeResponse{
			Response: &orisunpb.ConsumeResponse_Revoking{
				Revoking: &orisunpb.PartitionsRevoking{Partitions: assignments(moving)},
			},
		})
		m.dirty.Store(true)
	}
	m.revoked(lost)
	return added
}

// hold begins with partitions, and reads from where the first of all partitions goes on. Nothing is read meanwhile.
func (m *Member) hold(rows []db.ReadCheckpointsRow, added map[int32]holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left { // meanwhile
		return
	}
	for _, p := range m.partitions {
		p.passed(m.looked)
	}
	var fresh []*partition
	for _, row := range rows {
		p := newPartition(row.Partition, added[row.Partition].epoch, m.def.PartitionKey != "", m.def.ParkFollowing,
			Position{row.TransactionID, row.GlobalID}, row.Acknowledged, row.ParkedKeys)
		p.replayMore = true
		m.partitions[p.id] = p
		fresh = append(fresh, p)
	}
	m.frames = append(m.frames, &orisunpb.ConsumeResponse{
		Response: &orisunpb.ConsumeResponse_Assigned{Assigned: &orisunpb.PartitionsAssigned{Partitions: assignments(fresh)}},
	})
	start, found := Position{-1, -1}, false
	for _, p := range m.partitions {
		if !p.stopped && (!found || p.read.GlobalID < start.GlobalID) {
			start, found = p.read, true
		}
	}
	m.looked, m.caughtUp = start, false
	reading, end := context.WithCancel(context.Background())
	m.endReader = end
	m.reader.Go(func() { m.read(reading, start) })
	m.wakeUp()
}

// lose drops all partitions, since the lease has ended.
func (m *Member) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lost []*partition
	for _, p := range m.partitions {
		lost = append(lost, p)
		m.drop(p)
	}
	m.revoked(lost)
}

// drop forgets a partition. The caller holds the lock.
func (m *Member) drop(p *partition) {
	for _, it := range p.items {
		m.forget(it)
	}
	for _, it := range p.replays {
		m.forget(it)
	}
	m.lost = m.lost || p.unstored()
	p.stopped = true
	delete(m.partitions, p.id)
	signal(m.room)
}

// missed records that an acknowledgement has no effect, unless the client knows that its partition was revoked. The
// caller holds the lock.
func (m *Member) missed() { m.lost = m.lost || len(m.frames) > 0 }

// unstored returns whether acknowledgements are not stored, and the client does not know.
func (m *Member) unstored() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.partitions {
		if p.unstored() {
			return true
		}
	}
	return m.lost
}

// revoked reports partitions that were dropped. The caller holds the lock.
func (m *Member) revoked(lost []*partition) {
	if len(lost) > 0 {
		m.frames = append(m.frames, &orisunpb.ConsumeResponse{
			Response: &orisunpb.ConsumeResponse_Revoked{Revoked: &orisunpb.PartitionsRevoked{Partitions: assignments(lost)}},
		})
		m.wakeUp()
	}
}

func assignments(partitions []*partition) []*orisunpb.PartitionAssignment {
	all := make([]*orisunpb.PartitionAssignment, len(partitions))
	for i, p := range partitions {
		all[i] = &orisunpb.PartitionAssignment{Partition: uint32(p.id), Epoch: p.epoch, Checkpoint: p.head.proto()}
	}
	slices.SortFunc(all, func(a, b *orisunpb.PartitionAssignment) int {
		return int(a.GetPartition()) - int(b.GetPartition())
	})
	return all
}
