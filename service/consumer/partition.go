package consumer

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// Position is that of an event. The global_id alone orders the events of a boundary.
type Position struct{ TransactionID, GlobalID int64 }

func positionOf(p *orisunpb.Position) Position {
	return Position{p.GetTransactionId(), p.GetGlobalId()}
}

func (p Position) proto() *orisunpb.Position {
	return &orisunpb.Position{TransactionId: p.TransactionID, GlobalId: p.GlobalID}
}

func later(a, b Position) Position {
	if a.GlobalID > b.GlobalID {
		return a
	}
	return b
}

// PartitionOf returns the partition of a key: the first 8 bytes of its SHA-256 as a big-endian number, modulo the
// number of partitions. It must never change: it decides which checkpoint covers an event.
func PartitionOf(key string, partitions int) int32 {
	sum := sha256.Sum256([]byte(key))
	return int32(binary.BigEndian.Uint64(sum[:8]) % uint64(partitions))
}

// ErrNotDelivered is the error of a settlement that names an event which the consumer was not given.
var ErrNotDelivered = errors.New("the consumer was not given this event")

func notDelivered(id int64) error { return fmt.Errorf("%w: global_id %d", ErrNotDelivered, id) }

const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// item is an event that is not acknowledged yet.
type item struct {
	at       Position
	event    *orisunpb.Event
	key      string
	done     bool
	replayed bool // it was parked
	// acknowledged is of a replayed event that is to be removed from the parked ones.
	acknowledged bool

	deliveries uint32
	sent       int64 // number of the first delivery since the client's last refusal or delay; 0 for none
	refusals   int
	reason     string    // of the last refusal
	out        bool      // it is delivered, refused or delayed, and not settled
	due        time.Time // when it is delivered again, while it is out
}

// partition is what a consumer knows of a partition that it holds. It has no locks and does no I/O.
//
// An event is added in the order of positions, becomes ready when no earlier event of its key is unsettled, is out from
// its delivery on, and is done when it is acknowledged or parked. The checkpoint is the position before the first event
// that is not done.
type partition struct {
	id            int32
	epoch         int64
	keyed         bool // one event of a key at a time
	parkFollowing bool

	head         Position           // up to which everything is done
	read         Position           // up to which events were added
	acknowledged map[int64]bool     // after head, stored before this consumer held the partition
	order        []*item            // after head, in order; some are done
	items        map[int64]*item    // those that are not done
	replays      map[int64]*item    // parked events that are replayed and not done
	ready        []*item            // to deliver
	atOnce       bool               // they wait for no others
	out          map[int64]*item    // see item.out
	busy         map[string][]*item // by key: the event that is ready or out, and those behind it
	parkedKeys   map[string]bool
	parking      []*item   // to be parked
	parkAfter    time.Time // those behind parked events: there was no room

	stopped     bool // to be released: nothing is added or delivered any more
	releaseBy   time.Time
	replayMore  bool // parked events wait in PostgreSQL to be replayed
	changed     bool // the acknowledgements, since the last save
	saved       Position
	savedAt     time.Time
	hurry       bool // save the checkpoint at once
	lastOut     int64
	sent        int64 // deliveries so far
	savedOldest int64
}

func newPartition(
	id int32, epoch int64, keyed, parkFollowing bool, checkpoint Position, acknowledged []int64, parkedKeys []string,
) *partition {
	p := &partition{
		id: id, epoch: epoch, keyed: keyed, parkFollowing: parkFollowing, head: checkpoint, read: checkpoint,
		saved:        checkpoint,
		acknowledged: make(map[int64]bool), items: make(map[int64]*item), replays: make(map[int64]*item),
		out:  make(map[int64]*item),
		busy: make(map[string][]*item), parkedKeys: make(map[string]bool), lastOut: checkpoint.GlobalID, savedOldest: -1,
	}
	for _, id := range acknowledged {
		p.acknowledged[id] = true
		p.lastOut = max(p.lastOut, id)
	}
	for _, key := range parkedKeys {
		p.parkedKeys[key] = true
	}
	return p
}

// add takes the next event. It returns whether the event has to be processed.
func (p *partition) add(event *orisunpb.Event, key string) bool {
	at := positionOf(event.GetPosition())
	if at.GlobalID <= p.read.GlobalID || p.stopped {
		return false
	}
	p.read = at
	it := &item{at: at, event: event, key: key, done: p.acknowledged[at.GlobalID]}
	delete(p.acknowledged, at.GlobalID)
	p.order = append(p.order, it)
	if it.done {
		p.advance()
		return false
	}
	p.items[at.GlobalID] = it
	p.enqueue(it)
	return true
}

// replay takes a parked event that is to be delivered again. It returns whether the event has to be processed.
func (p *partition) replay(event *orisunpb.Event, key string) bool {
	at := positionOf(event.GetPosition())
	if p.replays[at.GlobalID] != nil || p.stopped {
		return false
	}
	it := &item{at: at, event: event, key: "replay/" + key, replayed: true}
	p.replays[at.GlobalID] = it
	p.enqueue(it)
	p.atOnce = true
	return true
}

// waitsForReplays returns whether parked events of the partition are to be read.
func (p *partition) waitsForReplays() bool { return p.replayMore && len(p.replays) == 0 && !p.stopped }

// originalKey is the value of the partition key.
func (it *item) originalKey() string {
	if it.replayed {
		return it.key[len("replay/"):]
	}
	return it.key
}

func (p *partition) enqueue(it *item) {
	if !it.replayed && p.parkedKeys[it.key] {
		p.parking = append(p.parking, it)
		return
	}
	if p.keyed {
		if p.busy[it.key] = append(p.busy[it.key], it); len(p.busy[it.key]) > 1 {
			return
		}
	}
	p.ready = append(p.ready, it)
}

// peek returns the event to deliver next, nil if there is none.
func (p *partition) peek() *item {
	for !p.stopped && len(p.ready) > 0 {
		if it := p.ready[0]; !it.done {
			return it
		}
		p.pop()
	}
	return nil
}

func (p *partition) pop() {
	p.ready[0] = nil
	p.ready = p.ready[1:]
}

// next takes the event to deliver next, nil if there is none.
func (p *partition) next(now time.Time, ackTimeout time.Duration) *item {
	it := p.peek()
	if it == nil {
		return nil
	}
	p.pop()
	it.out, it.due = true, now.Add(ackTimeout)
	it.deliveries++
	if p.sent++; it.sent == 0 {
		it.sent = p.sent
	}
	p.out[it.at.GlobalID] = it
	if !it.replayed {
		p.lastOut = max(p.lastOut, it.at.GlobalID)
	}
	return it
}

// expire makes events ready again whose time has come.
func (p *partition) expire(now time.Time) {
	var due []*item
	for id, it := range p.out {
		if !now.Before(it.due) {
			delete(p.out, id)
			it.out = false
			due = append(due, it)
		}
	}
	slices.SortFunc(due, byPosition)
	p.ready = append(due, p.ready...)
	p.atOnce = p.atOnce || len(due) > 0
}

func byPosition(a, b *item) int { return cmp.Compare(a.at.GlobalID, b.at.GlobalID) }

// find returns an unsettled event that was delivered; nil if it is settled already.
func (p *partition) find(id int64) (*item, error) {
	it := p.items[id]
	if it == nil {
		it = p.replays[id]
	}
	switch {
	case it == nil && id <= p.lastOut:
		return nil, nil
	case it == nil || it.deliveries == 0:
		return nil, notDelivered(id)
	}
	return it, nil
}

// through returns the events that a cumulative acknowledgement covers: those up to the position that were delivered
// before it, and neither refused nor delayed since. An earlier event of the partition may be delivered later, when the
// one of its key before it is settled: the client may not have it yet.
func (p *partition) through(id int64) (covered []*item, err error) {
	last := p.delivered(id)
	switch {
	case last == nil && id <= p.head.GlobalID:
		return nil, nil
	case last == nil:
		return nil, notDelivered(id)
	}
	cover := func(it *item) {
		if it.at.GlobalID <= id && !it.done && it.sent > 0 && it.sent <= last.sent {
			covered = append(covered, it)
		}
	}
	for _, it := range p.order {
		cover(it)
	}
	for _, it := range p.replays {
		cover(it)
	}
	return covered, nil
}

// covered returns the events that an acknowledgement is of.
func (p *partition) covered(a *orisunpb.Acknowledgement) (all []*item, err error) {
	if a.GetThrough() != nil {
		if all, err = p.through(a.GetThrough().GetGlobalId()); err != nil {
			return nil, err
		}
	}
	for _, at := range a.GetPositions() {
		it, err := p.find(at.GetGlobalId())
		if err != nil {
			return nil, err
		}
		if it != nil {
			all = append(all, it)
		}
	}
	return all, nil
}

// delivered returns an event that this consumer was given: one that is replayed and not done, or one after the
// checkpoint, whether it is done or not.
func (p *partition) delivered(id int64) *item {
	if it := p.replays[id]; it != nil && it.deliveries > 0 {
		return it
	}
	i, found := slices.BinarySearchFunc(p.order, id, func(it *item, id int64) int {
		return cmp.Compare(it.at.GlobalID, id)
	})
	if !found || p.order[i].deliveries == 0 {
		return nil
	}
	return p.order[i]
}

// settle records that an event is processed or parked.
func (p *partition) settle(it *item) {
	if it.done {
		return
	}
	id := it.at.GlobalID
	it.done, it.out, it.event = true, false, nil
	delete(p.out, id)
	p.notParking(it)
	if it.replayed {
		delete(p.replays, id)
	} else {
		delete(p.items, id)
		p.changed = true
		p.advance()
	}
	if !p.keyed {
		return
	}
	behind := p.busy[it.key]
	if len(behind) == 0 || behind[0] != it {
		return
	}
	switch behind = behind[1:]; {
	case len(behind) == 0:
		delete(p.busy, it.key)
	case p.parkedKeys[it.key]:
		delete(p.busy, it.key)
		p.parking = append(p.parking, behind...)
	default:
		p.busy[it.key] = behind
		p.ready = append(p.ready, behind[0])
		p.atOnce = true
	}
}

// refuse returns whether the event is to be parked.
func (p *partition) refuse(it *item, reason string, now time.Time, most int) {
	it.refusals++
	it.sent = 0
	it.reason = reason
	if it.refusals >= most {
		p.toPark(it, now.Add(lastBackoff))
		return
	}
	p.take(it, now.Add(min(firstBackoff<<min(it.refusals-1, 10), lastBackoff)))
}

// toPark has an event stored as parked, or removed from the parked ones. If that does not succeed in time, it is
// delivered again.
func (p *partition) toPark(it *item, until time.Time) {
	p.take(it, until)
	if !slices.Contains(p.parking, it) {
		p.parking = append(p.parking, it)
	}
}

// take holds an event out until a time.
func (p *partition) take(it *item, until time.Time) {
	it.out, it.due = true, until
	p.out[it.at.GlobalID] = it
	p.ready = slices.DeleteFunc(p.ready, func(other *item) bool { return other == it })
}

// parked records that an event is stored as parked.
func (p *partition) parked(it *item) {
	if p.parkFollowing {
		p.parkedKeys[it.originalKey()] = true
	}
	p.settle(it)
}

// cannotPark keeps events from being parked until a time: there is no room. Those that were delivered are delivered
// again then. Those behind parked events are not: they keep the order of their key.
func (p *partition) cannotPark(until time.Time) {
	p.parkAfter = until
	p.parking = slices.DeleteFunc(p.parking, func(it *item) bool {
		if it.acknowledged || it.deliveries == 0 {
			return false
		}
		p.take(it, until)
		return true
	})
}

func (p *partition) notParking(it *item) {
	p.parking = slices.DeleteFunc(p.parking, func(other *item) bool { return other == it })
}

// nothingParked records that no event of a key is parked any more. All those behind are delivered, in order, and before
// any that is added later.
func (p *partition) nothingParked(key string) {
	delete(p.parkedKeys, key)
	var behind []*item
	p.parking = slices.DeleteFunc(p.parking, func(it *item) bool {
		if it.replayed || it.deliveries > 0 || it.key != key {
			return false
		}
		behind = append(behind, it)
		return true
	})
	slices.SortFunc(behind, byPosition)
	for _, it := range behind {
		p.enqueue(it)
	}
}

// advance moves head over events that are done.
func (p *partition) advance() {
	n := 0
	for n < len(p.order) && p.order[n].done {
		p.head = p.order[n].at
		p.order[n] = nil
		n++
	}
	p.order = p.order[n:]
}

// checkpoint is the position up to which every event is done. looked is how far the reader is.
func (p *partition) checkpoint(looked Position) Position {
	if len(p.order) > 0 || p.stopped {
		return p.head
	}
	return later(p.head, looked)
}

// passed records that the reader, which is at a position, has added all of the partition's events up to there.
func (p *partition) passed(looked Position) {
	if p.stopped {
		return
	}
	p.head = p.checkpoint(looked)
	p.read = later(p.read, looked)
}

// stop ends deliveries. The reader no longer speaks for the partition.
func (p *partition) stop(looked Position, releaseBy time.Time) {
	p.head = p.checkpoint(looked)
	p.stopped, p.releaseBy = true, releaseBy
}

// beyond lists what is acknowledged after the checkpoint.
func (p *partition) beyond() []int64 {
	ids := []int64{}
	for _, it := range p.order {
		if it.done {
			ids = append(ids, it.at.GlobalID)
		}
	}
	for id := range p.acknowledged {
		if id > p.head.GlobalID {
			ids = append(ids, id)
		}
	}
	return ids
}

// unstored returns whether acknowledgements are not stored yet.
func (p *partition) unstored() bool {
	return p.changed || slices.ContainsFunc(p.parking, func(it *item) bool { return it.acknowledged })
}

// oldest is the first event that is delivered and not settled; -1 if there is none.
func (p *partition) oldest() int64 {
	for _, it := range p.order {
		if !it.done && it.deliveries > 0 {
			return it.at.GlobalID
		}
	}
	return -1
}
