package service

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// slots are a limited number of equal resources, such as the connections of a pool. A holder of a slot counts for
// several keys, such as its caller and its boundary, and no key holds more than its limit. It is safe for concurrent
// use.
//
// Holders with the same claims wait in one queue. A free slot goes to the queue whose claims hold the fewest slots, so
// that many waiters of one caller do not delay another caller.
type slots struct {
	maxWaiting int // in one queue

	mu     sync.Mutex
	free   int
	held   map[string]int
	queues map[string]*slotQueue
}

// claim says how many slots a key may hold.
type claim struct {
	key   string
	limit int
}

type slotQueue struct {
	claims  []claim
	waiting []*slotWaiter
}

type slotWaiter struct {
	since time.Time
	ready chan struct{} // closed when the waiter has its slot
}

// slotsFullError says that too many already wait with the same claims.
type slotsFullError struct{ waiting int }

func (slotsFullError) Error() string { return "too many wait for the same slots" }

func newSlots(number, maxWaiting int) *slots {
	return &slots{maxWaiting: maxWaiting, free: number, held: make(map[string]int), queues: make(map[string]*slotQueue)}
}

// enter waits for a slot. Errors: slotsFullError, or the cause of ctx.
func (s *slots) enter(ctx context.Context, claims ...claim) (leave func(), err error) {
	leave = sync.OnceFunc(func() { s.leave(claims) })
	s.mu.Lock()
	if s.fits(claims) {
		s.take(claims)
		s.mu.Unlock()
		return leave, nil
	}
	queue := s.queue(claims)
	if len(queue.waiting) >= s.maxWaiting {
		s.mu.Unlock()
		return nil, slotsFullError{len(queue.waiting)}
	}
	w := &slotWaiter{time.Now(), make(chan struct{})}
	queue.waiting = append(queue.waiting, w)
	s.mu.Unlock()

	select {
	case <-w.ready:
		return leave, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(queue.waiting, w); i >= 0 {
		queue.waiting = slices.Delete(queue.waiting, i, i+1)
		s.drop(queue)
		return nil, context.Cause(ctx)
	}
	return leave, nil // it became ready meanwhile
}

func (s *slots) leave(claims []claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	for _, c := range claims {
		if s.held[c.key]--; s.held[c.key] == 0 {
			delete(s.held, c.key)
		}
	}
	for next := s.next(); next != nil; next = s.next() {
		s.take(next.claims)
		close(next.waiting[0].ready)
		next.waiting = slices.Delete(next.waiting, 0, 1)
		s.drop(next)
	}
}

// next is the queue that gets a free slot; nil if no queue may have one.
func (s *slots) next() (best *slotQueue) {
	for _, queue := range s.queues {
		if !s.fits(queue.claims) {
			continue
		}
		if best == nil || s.sum(queue.claims) < s.sum(best.claims) ||
			s.sum(queue.claims) == s.sum(best.claims) && queue.waiting[0].since.Before(best.waiting[0].since) {
			best = queue
		}
	}
	return best
}

func (s *slots) sum(claims []claim) (held int) {
	for _, c := range claims {
		held += s.held[c.key]
	}
	return held
}

func (s *slots) fits(claims []claim) bool {
	return s.free > 0 && !slices.ContainsFunc(claims, func(c claim) bool { return s.held[c.key] >= c.limit })
}

func (s *slots) take(claims []claim) {
	s.free--
	for _, c := range claims {
		s.held[c.key]++
	}
}

func (s *slots) queue(claims []claim) *slotQueue {
	name := queueName(claims)
	queue := s.queues[name]
	if queue == nil {
		queue = &slotQueue{claims: claims}
		s.queues[name] = queue
	}
	return queue
}

func (s *slots) drop(queue *slotQueue) {
	if len(queue.waiting) == 0 {
		delete(s.queues, queueName(queue.claims))
	}
}

func queueName(claims []claim) string {
	keys := make([]string, len(claims))
	for i, c := range claims {
		keys[i] = c.key
	}
	return strings.Join(keys, "\x00")
}
