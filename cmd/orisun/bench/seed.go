package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// seeders save at a time, seedBatch events each.
	seeders   = 8
	seedBatch = 100
	// pageSize is the number of events in a page of the workload page.
	pageSize = 1000
)

// ownedContext is a context of this run. One client at a time uses it.
type ownedContext struct {
	value string
	// last is the position of the context's last event; nil before the first one.
	last *orisunpb.Position
	// unsure says that a save had an unknown outcome, so that last has to be read again.
	unsure bool
}

// prepare creates the index, seeds, and reads what the session needs from the boundary.
func (s *Session) prepare(ctx context.Context) error {
	var err error
	if s.environment, err = s.describe(ctx); err != nil {
		return err
	}
	s.noise = newNoise(s.random(-1), s.config.Payload)
	s.contexts = make([]ownedContext, s.config.Contexts)
	for i := range s.contexts {
		s.contexts[i].value = fmt.Sprintf("%s-%06d", s.run, i)
	}
	if s.config.CreateIndex {
		if err := s.createIndexes(ctx); err != nil {
			return err
		}
	}
	if s.config.SeedEvents == 0 {
		return nil
	}
	before, err := newest(ctx, s.store(0), s.config.Boundary, nil)
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", s.config.Boundary, err)
	}
	if err := s.seed(ctx); err != nil {
		return fmt.Errorf("seed %s: %w", s.config.Boundary, err)
	}
	if err := s.learn(ctx, before); err != nil {
		return fmt.Errorf("read what was seeded in %s: %w", s.config.Boundary, err)
	}
	return nil
}

// seed spreads the saved events over the contexts, so that a context's events are far apart, as in production.
func (s *Session) seed(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, saved atomic.Int64
	done := s.progress.count("seeding", int64(s.config.SeedEvents), &saved)
	defer done()

	var running sync.WaitGroup
	for i := range seeders {
		running.Go(func() {
			author := s.author(i)
			for ctx.Err() == nil {
				first := int(next.Add(seedBatch)) - seedBatch
				if first >= s.config.SeedEvents {
					return
				}
				events := newEvents(min(seedBatch, s.config.SeedEvents-first))
				for j, event := range events {
					author.write(event, field{ContextKey, s.contexts[(first+j)%len(s.contexts)].value})
				}
				if _, err := s.store(i).SaveEvents(ctx, unconditional(s.config.Boundary, events)); err != nil {
					cancel(err)
					return
				}
				saved.Add(int64(len(events)))
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// learn pages through the seeded events. It records where pages begin and the last position of each context.
func (s *Session) learn(ctx context.Context, before *orisunpb.Position) error {
	at := make(map[string]*ownedContext, len(s.contexts))
	for i := range s.contexts {
		at[s.contexts[i].value] = &s.contexts[i]
	}
	from := following(before)
	for seen := 0; seen < s.config.SeedEvents; {
		page, err := s.store(0).GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: s.config.Boundary, FromPosition: from, Count: pageSize,
		})
		if err != nil {
			return err
		}
		events := page.GetEvents()
		if len(events) == 0 {
			return fmt.Errorf("%d of %d events are there", seen, s.config.SeedEvents)
		}
		s.pages = append(s.pages, from)
		for _, event := range events {
			if !strings.Contains(event.GetData(), s.run) {
				continue
			}
			var data map[string]string
			if err := json.Unmarshal([]byte(event.GetData()), &data); err != nil {
				return fmt.Errorf("event %s: %w", event.GetEventId(), err)
			}
			if owned := at[data[ContextKey]]; owned != nil {
				owned.last = event.GetPosition()
				seen++
			}
		}
		from = following(events[len(events)-1].GetPosition())
	}
	// The last page may be shorter than the others.
	if len(s.pages) > 1 && s.config.SeedEvents%pageSize != 0 {
		s.pages = s.pages[:len(s.pages)-1]
	}
	return nil
}

// following is where the page after a position begins, in the form that clients write. It need not name an event.
func following(last *orisunpb.Position) *orisunpb.Position {
	if last == nil {
		return nil
	}
	return &orisunpb.Position{TransactionId: last.GetTransactionId(), GlobalId: last.GetGlobalId() + 1}
}

// newest is the position of the last event that matches, nil where none does.
func newest(
	ctx context.Context, store orisunpb.EventStoreClient, boundary string, query *orisunpb.Query,
) (*orisunpb.Position, error) {
	page, err := store.GetEvents(ctx, &orisunpb.GetEventsRequest{
		Boundary: boundary, Query: query, Count: 1, Direction: orisunpb.Direction_DESC,
	})
	if err != nil || len(page.GetEvents()) == 0 {
		return nil, err
	}
	return page.GetEvents()[0].GetPosition(), nil
}
