package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// subscriber follows the boundary from its first event on. When its stream ends it continues after its last event, on
// any node.
type subscriber struct {
	name    string // of the subscription, which is exclusive; empty for none
	group   int
	context keys // the keys of the group that it follows; 0 is everything

	mu        sync.Mutex
	received  []string
	last      *orisunpb.Position
	at        time.Time
	silence   time.Duration // the longest, while a client saves
	streams   int
	anomalies []string
}

func (s *subscriber) run(ctx context.Context, c *cluster, rng *rand.Rand) {
	s.last, s.at = &orisunpb.Position{TransactionId: -1, GlobalId: -1}, time.Now()
	for ctx.Err() == nil {
		n := c.nodes[rng.IntN(nodes)]
		if err := s.follow(ctx, n); ctx.Err() == nil && !mayFail(err) {
			s.mu.Lock()
			s.anomalies = append(s.anomalies, fmt.Sprintf("subscriber %s on %s: %v", s, n.name, err))
			s.mu.Unlock()
		}
		rest(ctx, time.Duration(rng.IntN(100))*time.Millisecond)
	}
}

func (s *subscriber) follow(ctx context.Context, n *node) error {
	request := &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: boundary, AfterPosition: s.last, SubscriberName: s.name,
	}
	if s.context != 0 {
		request.Query = &orisunpb.Query{Criteria: criteriaOf(s.group, s.context)}
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	stream, err := n.store.CatchUpSubscribeToEvents(ctx, request)
	if err != nil {
		return err
	}
	s.streams++
	for {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.received = append(s.received, event.GetEventId())
		s.last = event.GetPosition()
		s.silence = max(s.silence, time.Since(s.at))
		s.at = time.Now()
		s.mu.Unlock()
	}
}

func (s *subscriber) String() string {
	if s.context == 0 {
		return "of everything"
	}
	return fmt.Sprintf("of %d/%03b %s", s.group, s.context, s.name)
}

// check waits until the subscriber has as many events as the log has for it, and compares them.
func (s *subscriber) check(ctx context.Context, log []*orisunpb.Event) []string {
	var want []string
	for _, event := range log {
		if s.context == 0 || matches(event, s.group, s.context) {
			want = append(want, event.GetEventId())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	for ctx.Err() == nil && s.count() < len(want) {
		rest(ctx, 50*time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range max(len(want), len(s.received)) {
		switch {
		case i >= len(s.received):
			return append(s.anomalies,
				fmt.Sprintf("subscriber %s: %d events after %s, want %d; %s is the first one missing",
					s, len(s.received), catchUpLimit, len(want), want[i]))
		case i >= len(want):
			return append(s.anomalies, fmt.Sprintf("subscriber %s: got %s beyond the log's end", s, s.received[i]))
		case want[i] != s.received[i]:
			return append(s.anomalies, fmt.Sprintf("subscriber %s: event %d is %s, want %s", s, i, s.received[i], want[i]))
		}
	}
	return s.anomalies
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.received)
}
