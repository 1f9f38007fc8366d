package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// checkBudget is how long a flush may take in which saves are checked together. After that it is cancelled and split. A
// save that is then alone in a flush is checked ahead: outside of shared flushes and of the boundary's lock.
const checkBudget = 2 * time.Second

// flushOptions bound one transaction of a boundary and the queue behind it. A flush that is interrupted by a restart or
// failover of PostgreSQL, or by a cut connection, is retried: saves are idempotent by their event ids. Clients only see
// a delay.
var flushOptions = groupcommit.Options[checkedSave]{
	Size: func(save checkedSave) (items, bytes int) {
		return len(save.request.GetEvents()) + len(contextOf(save.request)), max(proto.Size(save.request), save.printed)
	},
	IsTransient:  IsTransient,
	MaxTransient: time.Minute,
}

// requestsOf adapts a flush of requests to checked saves.
func requestsOf(
	flush func(context.Context, string, []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error),
) func(context.Context, string, []checkedSave) ([]db.OrisunSaveResult, error) {
	return func(ctx context.Context, boundary string, checked []checkedSave) ([]db.OrisunSaveResult, error) {
		batch := make([]*orisunpb.SaveEventsRequest, len(checked))
		for i, save := range checked {
			batch[i] = save.request
		}
		return flush(ctx, boundary, batch)
	}
}

// flush saves the requests of a batch in one transaction and one round trip.
func (s *EventStore) flush(
	ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest,
) ([]db.OrisunSaveResult, error) {
	s.largePages.noteSave()
	defer s.largePages.noteSave()
	exists := s.boundaries.Knows(boundary) // names that callers make up are not stored
	var results []db.OrisunSaveResult
	err := s.lanes.run(ctx, boundary, exists, func(ctx context.Context) (err error) {
		results, err = s.saveWithinBudget(ctx, boundary, batch)
		return err
	})
	if exists {
		s.shortage.flushed(boundary, err)
	}
	if err == nil && s.config.Saved != nil &&
		slices.ContainsFunc(results, func(r db.OrisunSaveResult) bool { return r.Outcome == outcomeSaved }) {
		s.config.Saved(boundary)
	}
	return results, err
}

// saveWithinBudget limits the time of a flush. A single save without a check, or with a check made ahead, has no limit
// but the statement timeout.
func (s *EventStore) saveWithinBudget(
	ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest,
) ([]db.OrisunSaveResult, error) {
	if len(batch) == 1 && (isCheckedAhead(ctx) || len(contextOf(batch[0])) == 0) {
		return s.savePrioritized(ctx, boundary, batch)
	}
	limited, cancel := context.WithTimeoutCause(ctx, s.checkBudget, errSlowCheck)
	defer cancel()
	results, err := s.savePrioritized(limited, boundary, batch)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(limited), errSlowCheck) {
		return nil, errSlowCheck
	}
	return results, err
}

// savePrioritized saves a batch with its retried requests first.
func (s *EventStore) savePrioritized(
	ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest,
) ([]db.OrisunSaveResult, error) {
	sorted, places := batch, []int(nil)
	if len(batch) > 1 && s.retries.any() {
		sorted, places = s.retries.sort(batch)
	}
	results, err := s.saveRequests(ctx, boundary, sorted)
	if err != nil || len(results) != len(batch) {
		return results, err
	}
	for i, in := range sorted {
		s.retries.note(in, results[i].Outcome)
	}
	if places == nil {
		return results, nil
	}
	inOrder := make([]db.OrisunSaveResult, len(results))
	for i, result := range results {
		inOrder[places[i]] = result
	}
	return inOrder, nil
}
