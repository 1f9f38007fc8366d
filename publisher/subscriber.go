package publisher

import (
	"context"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// subscriber is a cursor: the position up to which its events are delivered, or known not to match. It is all that the
// feed keeps of it.
type subscriber struct {
	boundary *followed
	scan     scan
	wanted   filter
	deliver  func(*orisunpb.Event) error
	report   func(at position, caughtUp bool) // how far it looked; nil: to nothing

	cursor position
	// caughtUp says that PostgreSQL had nothing after the cursor when it was asked last.
	caughtUp bool
	// idle says that this was a moment ago.
	idle bool
}

// step moves the cursor on: through an event of the ring, or a page of PostgreSQL, or it waits until there may be
// either.
func (s *subscriber) step(ctx context.Context) error {
	e, changed, err := s.boundary.next(s.cursor, s.caughtUp)
	switch {
	case err != nil:
		return err
	case changed != nil:
		s.idle = false
		s.looked(s.cursor, true)
		s.boundary.wait(ctx, changed)
		return nil
	case e != nil && e.event != nil:
		matches, err := s.wanted.matches(e)
		if err != nil {
			break
		}
		s.cursor, s.idle = e.at, false
		if !matches {
			s.looked(s.cursor, false)
			return nil
		}
		s.boundary.counts.ring.Add(1)
		return s.delivered(ctx, e)
	}
	return s.readPage(ctx)
}

func (s *subscriber) looked(at position, caughtUp bool) {
	if s.report != nil {
		s.report(at, caughtUp)
	}
}

func (s *subscriber) readPage(ctx context.Context) error {
	if s.idle {
		// The stream has an event that PostgreSQL still does not show: the pool's server lags behind the publisher's.
		sleep(ctx, s.scan.feed.config.PollInterval)
	}
	events, end, err := s.scan.page(ctx, s.cursor)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	s.caughtUp = end == s.cursor
	s.idle = s.caughtUp
	for i, event := range events {
		events[i] = nil // a slow client holds what it has not got, no more
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.boundary.counts.pages.Add(1)
		if err := s.deliver(event); err != nil {
			return err
		}
	}
	s.cursor = end
	s.looked(end, false)
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
