package bench

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	deliveries = 0 // the row of events that the subscriber receives
	saves      = 1 // the row of events that are saved for it
)

// subscriber waits for events that are being saved.
type subscriber struct {
	m      *measurement
	cancel context.CancelFunc
	ended  chan struct{} // closed when the subscription has ended

	mu      sync.Mutex
	due     map[string]time.Time // by event id, of events that have not arrived yet
	emptied chan struct{}        // notified when due is empty
}

// startLatency subscribes after the boundary's last event. So no event is missed, whether the subscription is live
// when the first save ends or catches up to it.
func startLatency(ctx context.Context, s *Session, m *measurement, clients int) (*load, error) {
	last, err := newest(ctx, s.store(0), s.config.Boundary, nil)
	if err != nil {
		return nil, err
	}
	if last == nil {
		last = nothing()
	}
	streaming, cancel := context.WithCancel(ctx)
	stream, err := s.store(clients).CatchUpSubscribeToEvents(streaming, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: s.config.Boundary, SubscriberName: "bench-" + newID(), AfterPosition: last,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	sub := &subscriber{
		m: m, cancel: cancel, ended: make(chan struct{}), due: map[string]time.Time{}, emptied: make(chan struct{}, 1),
	}
	go sub.follow(streaming, stream)
	return &load{
		clients: each(clients, func(i int) client {
			a := s.appender(i, clients, 1)
			return func(ctx context.Context, due time.Time) outcome { return sub.save(ctx, a, due) }
		}),
		settle: sub.settle,
		close: func() {
			cancel()
			<-sub.ended
		},
	}, nil
}

// follow receives until the subscription ends.
func (s *subscriber) follow(ctx context.Context, stream grpc.ServerStreamingClient[orisunpb.Event]) {
	defer close(s.ended)
	for {
		event, err := stream.Recv()
		if err != nil {
			if ctx.Err() == nil {
				s.m.rows[deliveries].fail(codeOf(err), 1, "the subscription ended: "+err.Error())
			}
			return
		}
		came := time.Now()
		if due, expected := s.take(event.GetEventId()); expected {
			s.m.observe(due, outcome{row: deliveries, events: 1, ended: came})
		}
	}
}

// save registers the event before it is saved: the subscriber may have it before the client has its answer.
func (s *subscriber) save(ctx context.Context, a *appender, due time.Time) outcome {
	a.decide()
	id := a.events[0].GetEventId()
	s.mu.Lock()
	s.due[id] = due
	s.mu.Unlock()
	o := a.save(ctx)
	o.row = saves
	if o.err != nil {
		// Whether it is stored or not, it was not acknowledged.
		s.take(id)
	}
	return o
}

// take returns when an event was due, once.
func (s *subscriber) take(id string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, expected := s.due[id]
	delete(s.due, id)
	if len(s.due) == 0 {
		select {
		case s.emptied <- struct{}{}:
		default: // it was notified already
		}
	}
	return due, expected
}

func (s *subscriber) missing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.due)
}

// settle waits until every saved event has arrived.
func (s *subscriber) settle(ctx context.Context) {
	for s.missing() > 0 {
		why := "the subscription ended before"
		select {
		case <-s.emptied:
			continue
		case <-s.ended:
		case <-ctx.Done():
			why = "and not within " + settleTime.String()
		}
		if n := s.missing(); n > 0 && !interrupted(ctx) {
			s.m.rows[deliveries].fail(undelivered, int64(n), count(n, "event")+" saved did not come: "+why)
		}
		return
	}
}
