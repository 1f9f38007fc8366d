package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// flushOptions bound what one transaction of a boundary takes and what waits behind it. A flush that PostgreSQL's restart, failover
// or a cut connection interrupts is sent again, since event ids make that safe: to clients it is a pause.
var flushOptions = groupcommit.Options[checkedSave]{
	Size: func(save checkedSave) (items, bytes int) {
		return len(save.request.GetEvents()), max(proto.Size(save.request), save.printed)
	},
	IsPoison:     isPoison,
	IsTransient:  isTransient,
	MaxTransient: time.Minute,
}

// requestsOf lets a flush of requests take checked saves.
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
func (s *EventStore) flush(ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
	results, err := s.saveInTurn(ctx, boundary, batch)
	if _, exists := s.saving.Load(boundary); exists { // names that callers make up are not kept
		s.shortage.flushed(boundary, err)
	}
	if err == nil && s.config.Saved != nil && slices.ContainsFunc(results, func(r db.OrisunSaveResult) bool { return r.Outcome == outcomeSaved }) {
		s.config.Saved(boundary)
	}
	return results, err
}

// saveInTurn saves the requests of those first who lost before.
func (s *EventStore) saveInTurn(ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
	sorted, stood := batch, []int(nil)
	if len(batch) > 1 && s.losers.any() {
		sorted, stood = s.losers.first(batch)
	}
	results, err := s.saveRequests(ctx, boundary, sorted)
	if err != nil || len(results) != len(batch) {
		return results, err
	}
	for i, in := range sorted {
		s.losers.note(in, results[i].Outcome)
	}
	if stood == nil {
		return results, nil
	}
	asTheyCame := make([]db.OrisunSaveResult, len(results))
	for i, result := range results {
		asTheyCame[stood[i]] = result
	}
	return asTheyCame, nil
}

// isPoison tells that PostgreSQL refuses what one of the requests holds: a data exception, a constraint, a limit.
func isPoison(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.ContainsFunc([]string{"22", "23", "54"}, func(class string) bool {
		return strings.HasPrefix(refused.Code, class)
	})
}

// isTransient tells that the same flush may succeed later: the status would be UNAVAILABLE.
func isTransient(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		rule, found := findSQLState(refused.Code)
		return found && rule.transient()
	}
	return isDisconnected(err)
}
