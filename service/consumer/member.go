package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	maxBufferedBytes = 4 << 20   // of a consumer's events in memory, or one larger event
	maxFrameEvents   = 100       // of a response
	maxFrameBytes    = 256 << 10 // of a response, or one larger event
	releaseGrace     = 2 * time.Second
	scanInterval     = 100 * time.Millisecond // of redeliveries
	progressInterval = time.Second
)

// TooLargeError is the error of an event that fits no response.
type TooLargeError struct{ Position *orisunpb.Position }

func (*TooLargeError) Error() string { return "the event is larger than a response may be" }

// Definition is a subscription as its consumers need it.
type Definition struct {
	Boundary, Name, Generation string
	Criteria                   []*orisunpb.Criterion
	PartitionKey               string
	Partitions                 int
	AckTimeout                 time.Duration
	MaxRefusals                int
	ParkFollowing              bool
}

// Client is what a consumer says of itself.
type Client struct {
	Name, Address, UserID, Username string
	Window                          int
}

// Member is a consumer: one stream, on this node. Its methods are safe for concurrent use.
type Member struct {
	ID     string
	Client Client

	node *Node
	def  Definition
	wake chan struct{} // of room for one
	room chan struct{} // the same, for the reader

	mu         sync.Mutex
	partitions map[int32]*partition
	releasing  map[int32]int64             // epochs of partitions that were given up, and PostgreSQL does not know yet
	released   map[int32]int64             // the last such epoch of each partition: it does not begin again
	frames     []*orisunpb.ConsumeResponse // to send before any deliveries
	buffered   int
	bytes      int
	looked     Position
	caughtUp   bool
	moved      bool // looked, since the last progress
	ended      error
	// lost: acknowledgements of a partition that was revoked are not stored, and the client does not know yet that it
	// was.
	lost bool

	endReader context.CancelFunc
	reader    sync.WaitGroup
}

// Boundary is that of the consumer's subscription.
func (m *Member) Boundary() string { return m.def.Boundary }

func (m *Member) group() group { return group{m.def.Boundary, m.def.Name} }

func (m *Member) wakeUp() { signal(m.wake) }

// end ends Run with an error.
func (m *Member) end(err error) {
	m.mu.Lock()
	if m.ended == nil {
		m.ended = err
	}
	m.mu.Unlock()
	m.wakeUp()
}

// keyOf is the value of the partition key.
func (m *Member) keyOf(event *orisunpb.Event) string {
	if m.def.PartitionKey == "" {
		return ""
	}
	return m.node.config.FieldOf(event, m.def.PartitionKey)
}

// read follows the boundary until ctx ends.
func (m *Member) read(ctx context.Context, after Position) {
	err := m.node.config.Feed.FollowLooking(ctx, m.def.Boundary, after.proto(), m.def.Criteria, func(event *orisunpb.Event) error {
		return m.take(ctx, event)
	}, m.look)
	if ctx.Err() == nil {
		m.end(err)
	}
}

// take adds an event to its partition, once there is room for it.
func (m *Member) take(ctx context.Context, event *orisunpb.Event) error {
	key := m.keyOf(event)
	id := PartitionOf(key, m.def.Partitions)
	m.mu.Lock()
	for m.buffered >= 2*m.Client.Window || m.bytes > maxBufferedBytes {
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
		m.wakeUp()
	}
	m.progressed()
	return nil
}

// look takes how far the reader looked.
func (m *Member) look(at *orisunpb.Position, caughtUp bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = later(m.looked, positionOf(at))
	if caughtUp != m.caughtUp {
		m.caughtUp = caughtUp
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
	m.node.markDirty(m)
}

// Run sends responses until ctx or the consumer ends. Its error is why; it is never nil.
func (m *Member) Run(ctx context.Context, send func(*orisunpb.ConsumeResponse) error) error {
	if err := send(&orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Started{Started: &orisunpb.ConsumeStarted{
		ConsumerId: m.ID, Node: m.node.config.Name, Window: uint32(m.Client.Window), AckTimeout: durationpb.New(m.def.AckTimeout),
	}}}); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var scanned, progress time.Time
	said := false // that it caught up
	for {
		now := time.Now()
		m.mu.Lock()
		if m.ended != nil {
			defer m.mu.Unlock()
			return m.ended
		}
		frames := m.frames
		if m.frames = nil; len(frames) > 0 {
			m.lost = false // the client gets to know it
		}
		if now.Sub(scanned) >= scanInterval {
			scanned = now
			for _, p := range m.partitions {
				p.expire(now)
			}
		}
		deliveries, err := m.collect(now)
		if err != nil {
			m.mu.Unlock()
			return err
		}
		if deliveries != nil {
			frames, said = append(frames, deliveries), false
		} else if m.caughtUp && !said && len(m.partitions) > 0 && !m.waiting() {
			said = true
			frames = append(frames, &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_CaughtUp{CaughtUp: &orisunpb.CaughtUp{Position: m.looked.proto()}}})
		}
		if m.moved && now.Sub(progress) >= progressInterval {
			m.moved, progress = false, now
			if at, found := m.lowest(); found {
				frames = append(frames, &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Progress{Progress: &orisunpb.ConsumeProgress{
					Position: m.looked.proto(), Checkpoint: at.proto(),
				}}})
			}
		}
		next := m.nextLook(progress)
		m.mu.Unlock()
		for _, frame := range frames {
			if err := send(frame); err != nil {
				return err
			}
		}
		if m.park(ctx) == nil {
			m.replay(ctx)
		}
		if deliveries != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		var due <-chan time.Time
		if next > 0 {
			timer.Reset(next)
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.wake:
		case <-due:
		}
	}
}

// collect takes the next deliveries, as many as the window and a frame have room for. The caller holds the lock.
func (m *Member) collect(now time.Time) (*orisunpb.ConsumeResponse, error) {
	if !m.node.alive(now) {
		return nil, nil
	}
	out, size := 0, 0
	for _, p := range m.partitions {
		out += len(p.out)
	}
	var deliveries []*orisunpb.Delivery
	for _, p := range m.partitions {
		for out < m.Client.Window && len(deliveries) < maxFrameEvents && size < maxFrameBytes {
			it := p.next(now, m.def.AckTimeout)
			if it == nil {
				break
			}
			delivery := &orisunpb.Delivery{Event: it.event, Partition: uint32(p.id), Epoch: p.epoch, DeliveryCount: it.deliveries, Replayed: it.replayed}
			if proto.Size(delivery)+64 > m.node.config.MaxResponseBytes {
				return nil, &TooLargeError{it.event.GetPosition()}
			}
			size += proto.Size(delivery)
			out++
			deliveries = append(deliveries, delivery)
		}
	}
	if len(deliveries) == 0 {
		return nil, nil
	}
	m.node.markDirty(m)
	return &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Deliveries{Deliveries: &orisunpb.Deliveries{Deliveries: deliveries}}}, nil
}

// waiting returns whether events wait for the window or for earlier ones of their keys.
func (m *Member) waiting() bool {
	for _, p := range m.partitions {
		if len(p.items)+len(p.replays) > 0 {
			return true
		}
	}
	return false
}

// lowest is the lowest checkpoint. The caller holds the lock.
func (m *Member) lowest() (at Position, found bool) {
	for _, p := range m.partitions {
		if c := p.checkpoint(m.looked); !found || c.GlobalID < at.GlobalID {
			at, found = c, true
		}
	}
	return at, found
}

// nextLook is after how long there may be something to do without a wake; 0 is never.
func (m *Member) nextLook(progress time.Time) time.Duration {
	for _, p := range m.partitions {
		if len(p.out) > 0 || len(p.parking) > 0 || len(p.ready) > 0 {
			return scanInterval
		}
	}
	if m.moved {
		return max(time.Until(progress.Add(progressInterval)), time.Millisecond)
	}
	return 0
}

// Settle applies settlements. stale reports that one names a partition or an epoch that the consumer does not hold.
func (m *Member) Settle(acknowledge []*orisunpb.Acknowledgement, refuse []*orisunpb.Refusal, delay []*orisunpb.Delay) (stale bool, err error) {
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
		var covered []*item
		if a.GetThrough() != nil {
			if covered, err = p.through(a.GetThrough().GetGlobalId()); err != nil {
				return stale, err
			}
		}
		for _, at := range a.GetPositions() {
			it, err := p.find(at.GetGlobalId())
			if err != nil {
				return stale, err
			}
			if it != nil {
				covered = append(covered, it)
			}
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
	m.moved = true
	m.node.markDirty(m)
	m.wakeUp()
	signal(m.room)
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

func (m *Member) forget(it *item) {
	m.buffered--
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

// holding is what PostgreSQL says that a consumer holds.
type holding struct {
	partition         int32
	epoch             int64
	moving, replaying bool
}

// assign compares what the consumer holds with what PostgreSQL says.
func (m *Member) assign(ctx context.Context, held []holding) error {
	m.mu.Lock()
	var added []int32
	epochs := make(map[int32]int64)
	var lost, moving []*partition
	for _, h := range held {
		epochs[h.partition] = h.epoch
		p := m.partitions[h.partition]
		switch {
		case h.epoch <= m.released[h.partition] && h.epoch > 0: // the read was before the release
		case p == nil || p.epoch != h.epoch:
			added = append(added, h.partition) // one that is moving already is released after the next look
		case h.moving && !p.stopped:
			p.stop(m.looked, time.Now().Add(releaseGrace))
			moving = append(moving, p)
		case h.replaying && !p.replayMore:
			p.replayMore = true
			m.wakeUp()
		}
	}
	for id, p := range m.partitions {
		if epoch, still := epochs[id]; !still || epoch != p.epoch {
			lost = append(lost, p)
			m.drop(p)
		}
	}
	if len(moving) > 0 {
		m.frames = append(m.frames, &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Revoking{Revoking: &orisunpb.PartitionsRevoking{Partitions: assignments(moving)}}})
		m.node.markDirty(m)
	}
	m.revoked(lost)
	m.mu.Unlock()
	m.wakeUp()
	if len(added) == 0 {
		return nil
	}
	rows, err := m.node.readCheckpoints(ctx, m, added)
	if err != nil {
		return err
	}
	m.stopReading()
	m.mu.Lock()
	var fresh []*partition
	for _, row := range rows {
		p := newPartition(row.Partition, epochs[row.Partition], m.def.PartitionKey != "", m.def.ParkFollowing,
			Position{row.TransactionID, row.GlobalID}, row.Acknowledged, row.ParkedKeys)
		p.replayMore = true
		m.partitions[p.id] = p
		fresh = append(fresh, p)
	}
	m.frames = append(m.frames, &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Assigned{Assigned: &orisunpb.PartitionsAssigned{Partitions: assignments(fresh)}}})
	// A partition that stays has seen everything up to where the reader was.
	for _, p := range m.partitions {
		if !slices.Contains(fresh, p) && !p.stopped {
			p.read = later(p.read, m.looked)
			if len(p.order) == 0 {
				p.head = later(p.head, m.looked)
			}
		}
	}
	start := Position{-1, -1}
	first := true
	for _, p := range m.partitions {
		if !p.stopped && (first || p.read.GlobalID < start.GlobalID) {
			start, first = p.read, false
		}
	}
	m.looked, m.caughtUp = start, false
	reading, end := context.WithCancel(context.Background())
	m.endReader = end
	m.reader.Go(func() { m.read(reading, start) })
	m.mu.Unlock()
	m.wakeUp()
	return nil
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
		m.frames = append(m.frames, &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Revoked{Revoked: &orisunpb.PartitionsRevoked{Partitions: assignments(lost)}}})
		m.wakeUp()
	}
}

func assignments(partitions []*partition) []*orisunpb.PartitionAssignment {
	all := make([]*orisunpb.PartitionAssignment, len(partitions))
	for i, p := range partitions {
		all[i] = &orisunpb.PartitionAssignment{Partition: uint32(p.id), Epoch: p.epoch, Checkpoint: p.head.proto()}
	}
	slices.SortFunc(all, func(a, b *orisunpb.PartitionAssignment) int { return int(a.GetPartition()) - int(b.GetPartition()) })
	return all
}

// ErrReset and ErrDeleted end the consumers of a subscription.
var (
	ErrReset   = errors.New("the subscription was reset")
	ErrDeleted = errors.New("the subscription was deleted")
)
