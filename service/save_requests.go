package service

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// savingStatements call a boundary's own saving functions.
type savingStatements struct{ requests, event string }

// saveRequests is orisun.save_requests, without the way through it: each boundary has saving functions of its own, and to find that
// out at every flush takes a fifth of a save's time. Their names never change; where they are gone, as after a restore, they are asked for anew.
func (s *EventStore) saveRequests(ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
	statements, err := s.savingStatements(ctx, boundary)
	if err != nil {
		return nil, err
	}
	var rows pgx.Rows
	if len(batch) == 1 && isPlain(batch[0]) {
		rows, err = s.config.Write.Query(ctx, statements.event, eventArguments(batch[0])...)
	} else {
		var params db.SaveRequestsParams
		for _, in := range batch {
			appendRequest(&params, in)
		}
		rows, err = s.config.Write.Query(ctx, statements.requests, params.ExpectedTransactionIds, params.ExpectedGlobalIds, params.CriterionRequests,
			params.TagCriteria, params.TagKeys, params.TagValues, params.EventRequests, params.EventIds, params.EventTypes, params.Data, params.Metadata)
	}
	if err != nil {
		return nil, s.forgetSaving(boundary, err)
	}
	results := make([]db.OrisunSaveResult, 0, len(batch))
	var result db.OrisunSaveResult
	_, err = pgx.ForEachRow(rows, []any{&result.Request, &result.Outcome, &result.TransactionID, &result.GlobalID}, func() error {
		results = append(results, result)
		return nil
	})
	return results, s.forgetSaving(boundary, err)
}

func (s *EventStore) savingStatements(ctx context.Context, boundary string) (savingStatements, error) {
	if known, ok := s.saving.Load(boundary); ok {
		return known.(savingStatements), nil
	}
	functions, err := s.queries.SavingFunctions(ctx, s.config.Write, boundary)
	if err != nil {
		return savingStatements{}, err
	}
	const columns = "SELECT request, outcome, transaction_id, global_id FROM "
	statements := savingStatements{
		requests: "-- name: SaveRequests :many\n" + columns + functions.Requests + "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		event:    "-- name: SaveEvent :one\n" + columns + functions.Event + "($1, $2, $3, $4, $5, $6, $7, $8)",
	}
	s.saving.Store(boundary, statements)
	return statements, nil
}

// isPlain tells what the saving function of one event takes.
func isPlain(in *orisunpb.SaveEventsRequest) bool {
	return len(in.GetEvents()) == 1 && len(contextOf(in)) <= 1
}

// eventArguments are those of the saving function of one event.
func eventArguments(in *orisunpb.SaveEventsRequest) []any {
	var keys, values []string // nil: there is no criterion
	for _, criterion := range contextOf(in) {
		tags := slices.Clone(criterion.GetTags())
		// The function knows the shapes of criteria by their keys in this order.
		slices.SortStableFunc(tags, func(a, b *orisunpb.Tag) int { return strings.Compare(a.GetKey(), b.GetKey()) })
		keys, values = make([]string, 0, len(tags)), make([]string, 0, len(tags))
		for _, tag := range tags {
			keys, values = append(keys, tag.GetKey()), append(values, tag.GetValue())
		}
	}
	expected, event := expectedPosition(in), in.GetEvents()[0]
	return []any{expected.GetTransactionId(), expected.GetGlobalId(), keys, values, event.GetEventId(), event.GetEventType(), event.GetData(), metadataOf(event)}
}

// forgetSaving forgets a boundary's functions when they do not exist.
func (s *EventStore) forgetSaving(boundary string, err error) error {
	if isGone(err) {
		s.saving.Delete(boundary)
	}
	return err
}
