package consumer

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	maxFrameEvents   = 100                    // of a response
	maxFrameBytes    = 256 << 10              // of a response of several events
	deliveryBytes    = 64                     // at most, of a response beside each event
	scanInterval     = 100 * time.Millisecond // of redeliveries
	progressInterval = time.Second
)

// Run sends responses until ctx or the consumer ends. Its error is why; it is never nil.
func (m *Member) Run(ctx context.Context, send func(*orisunpb.ConsumeResponse) error) error {
	if err := send(&orisunpb.ConsumeResponse{Response: &orisunpb.ConsumeResponse_Started{Started: &orisunpb.ConsumeStarted{
		ConsumerId: m.ID, Node: m.node.config.Name, Window: uint32(m.Client.Window),
		AckTimeout: durationpb.New(m.def.AckTimeout),
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
			frames = append(frames, m.caughtUpFrame())
		}
		if m.moved && now.Sub(progress) >= progressInterval {
			m.moved, progress = false, now
			if at, found := m.lowest(); found {
				frames = append(frames, m.progressFrame(at))
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
	most := m.node.config.MaxResponseBytes
	var deliveries []*orisunpb.Delivery
	for _, p := range m.partitions {
		for out < m.Client.Window && len(deliveries) < maxFrameEvents {
			it := p.peek()
			if it == nil {
				break
			}
			next := proto.Size(it.event) + deliveryBytes
			if len(deliveries) > 0 && size+next > min(maxFrameBytes, most) {
				break // the next response has it
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
	m.node.markDirty(m)
	return &orisunpb.ConsumeResponse{
		Response: &orisunpb.ConsumeResponse_Deliveries{Deliveries: &orisunpb.Deliveries{Deliveries: deliveries}},
	}, nil
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
func (m *Member) nextLook(progress time.Time) time.Duration {
	for _, p := range m.partitions {
		if len(p.out) > 0 || len(p.parking) > 0 || len(p.ready) > 0 {
			return scanInterval
		}
	}
	if m.moved {
		return max(time.Until(progress.Add(progressInterval)), time.Millisecond)
	}
	for _, p := range m.partitions {
		if p.waitsForReplays() {
			return progressInterval
		}
	}
	return 0
}
