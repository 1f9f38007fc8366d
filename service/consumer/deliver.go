package consumer

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	maxFrameEvents = 100                    // of a response
	maxFrameBytes  = 256 << 10              // of a response of several events
	deliveryBytes  = 64                     // at most, of a response beside each event
	scanInterval   = 100 * time.Millisecond // of redeliveries
	// gatherTime is how long events that arrive wait for others after a response with events. A response costs more
	// than the events in it.
	gatherTime       = 10 * time.Millisecond
	progressInterval = time.Second
)

// Run sends responses until ctx or the consumer ends. Its error is why; it is never nil.
func (m *Member) Run(ctx context.Context, send func(*orisunpb.ConsumeResponse) error) error {
	if err := send(m.startedFrame()); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		frames, next, err := m.responses(time.Now())
		if err != nil {
			return err
		}
		for _, frame := range frames {
			if err := send(frame); err != nil {
				return err
			}
		}
		if m.park(ctx) == nil {
			m.replay(ctx)
		}
		var due <-chan time.Time
		if next > 0 {
			timer.Reset(next)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-due:
		}
	}
	return context.Cause(ctx)
}

// responses returns what is to be sent now, and after how long to look again without a wake; 0 is never.
func (m *Member) responses(now time.Time) (frames []*orisunpb.ConsumeResponse, next time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return nil, 0, m.ended
	}
	if frames, m.frames = m.frames, nil; len(frames) > 0 {
		m.lost = false // the client gets to know it
	}
	if now.Sub(m.scannedAt) >= scanInterval {
		m.scannedAt = now
		for _, p := range m.partitions {
			p.expire(now)
		}
	}
	gathering := m.gathering(now)
	if gathering == 0 {
		deliveries, err := m.collect(now)
		switch {
		case err != nil:
			return nil, 0, err
		case deliveries != nil:
			frames, m.saidCaughtUp = append(frames, deliveries), false
			m.wakeUp() // there may be more
		case m.caughtUp && !m.saidCaughtUp && len(m.partitions) > 0 && !m.waiting():
			frames, m.saidCaughtUp = append(frames, m.caughtUpFrame()), true
		}
	}
	if m.moved && now.Sub(m.progressAt) >= progressInterval {
		m.moved, m.progressAt = false, now
		if at, found := m.lowest(); found {
			frames = append(frames, m.progressFrame(at))
		}
	}
	return frames, cmp.Or(gathering, m.nextLook()), nil
}

// gathering returns for how long events that arrived wait for others: while a response was sent within gatherTime, no
// settlement made events ready, and there is room for more in the window, the response and memory. The caller holds the
// lock.
func (m *Member) gathering(now time.Time) time.Duration {
	m.awaited = 0
	left := gatherTime - now.Sub(m.sentAt)
	if left <= 0 {
		return 0
	}
	out, ready, atOnce := 0, 0, false
	for _, p := range m.partitions {
		out, ready, atOnce = out+len(p.out), ready+len(p.ready), atOnce || p.atOnce
	}
	if m.awaited = min(m.Client.Window-out, maxFrameEvents) - ready; m.awaited <= 0 || atOnce || m.full() {
		m.awaited = 0
		return 0
	}
	return left
}

// arrived wakes Run for an event, unless it waits for more. The caller holds the lock.
func (m *Member) arrived() {
	if m.awaited--; m.awaited <= 0 || m.full() {
		m.awaited = 0
		m.wakeUp()
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
	most := m.node.config.MaxResponseBytes
	var deliveries []*orisunpb.Delivery
	for _, p := range m.partitions {
		for out < m.Client.Window && len(deliveries) < maxFrameEvents {
			it := p.peek()
			if it == nil {
				p.atOnce = false
				break
			}
			next := proto.Size(it.event) + deliveryBytes
			if len(deliveries) > 0 && size+next > min(maxFrameBytes, most) {
				p.atOnce = true // in the next response
				break
			}
			if next > most {
				return nil, &TooLargeError{it.event.GetPosition()}
			}
			p.next(now, m.def.AckTimeout)
			size += next
			out++
			deliveries = append(deliveries, &orisunpb.Delivery{
				Event: it.event, Partition: uint32(p.id), Epoch: p.epoch, DeliveryCount: it.deliveries, Replayed: it.replayed,
			})
		}
	}
	if len(deliveries) == 0 {
		return nil, nil
	}
	m.dirty.Store(true)
	m.sentAt = now
	return &orisunpb.ConsumeResponse{
		Response: &orisunpb.ConsumeResponse_Deliveries{Deliveries: &orisunpb.Deliveries{Deliveries: deliveries}},
	}, nil
}

func (m *Member) startedFrame() *orisunpb.ConsumeResponse {
	return &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Started{Started: &orisunpb.ConsumeStarted{
		ConsumerId: m.ID, Node: m.node.config.Name, Window: uint32(m.Client.Window),
		AckTimeout: durationpb.New(m.def.AckTimeout),
	}}}
}

func (m *Member) caughtUpFrame() *orisunpb.ConsumeResponse {
	caughtUp := &orisunpb.CaughtUp{Position: m.looked.proto()}
	return &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_CaughtUp{CaughtUp: caughtUp}}
}

func (m *Member) progressFrame(checkpoint Position) *orisunpb.ConsumeResponse {
	progress := &orisunpb.ConsumeProgress{Position: m.looked.proto(), Checkpoint: checkpoint.proto()}
	return &orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Progress{Progress: progress}}
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
func (m *Member) nextLook() time.Duration {
	for _, p := range m.partitions {
		if len(p.out) > 0 || len(p.parking) > 0 || len(p.ready) > 0 {
			return scanInterval
		}
	}
	if m.moved {
		return max(time.Until(m.progressAt.Add(progressInterval)), time.Millisecond)
	}
	for _, p := range m.partitions {
		if p.waitsForReplays() {
			return progressInterval
		}
	}
	return 0
}
