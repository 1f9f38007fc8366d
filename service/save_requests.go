package service

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// savingStatements call a boundary's own saving functions.
type savingStatements struct {
	requests, plain string
	// contested tells that one of the last flush's saves did not succeed: the next ones will hardly be plain, and to find that out doubles what they take.
	contested atomic.Bool
}

// saveRequests is orisun.save_requests, without the way through it: each boundary has saving functions of its own, and to find that
// out at every flush takes a fifth of a save's time. Their names never change; where they are gone, as after a restore, they are asked for anew.
func (s *EventStore) saveRequests(ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
	statements, err := s.savingStatements(ctx, boundary)
	if err != nil {
		return nil, err
	}
	var rows pgx.Rows
	var arguments []any
	if !statements.contested.Load() {
		arguments = plainArguments(batch)
	}
	if arguments != nil {
		rows, err = s.config.Write.Query(ctx, statements.plain, arguments...)
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
	contested := false
	_, err = pgx.ForEachRow(rows, []any{&result.Request, &result.Outcome, &result.TransactionID, &result.GlobalID}, func() error {
		results = append(results, result)
		contested = contested || result.Outcome != outcomeSaved
		return nil
	})
	statements.contested.Store(contested)
	return results, s.forgetSaving(boundary, err)
}

func (s *EventStore) savingStatements(ctx context.Context, boundary string) (*savingStatements, error) {
	if known, ok := s.saving.Load(boundary); ok {
		return known.(*savingStatements), nil
	}
	functions, err := s.queries.SavingFunctions(ctx, s.config.Write, boundary)
	if err != nil {
		return nil, err
	}
	const columns = "SELECT request, outcome, transaction_id, global_id FROM "
	statements := &savingStatements{
		requests: "-- name: SaveRequests :many\n" + columns + functions.Requests + "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		plain:    "-- name: SavePlain :many\n" + columns + functions.Plain + "($1, $2, $3, $4, $5, $6, $7, $8)",
	}
	s.saving.Store(boundary, statements)
	return statements, nil
}

// plainArguments are those of a boundary's function of plain saves: of one event each, all without a criterion or each with one of the same keys. There are none
// for other saves.
func plainArguments(batch []*orisunpb.SaveEventsRequest) []any {
	keys, values, plain := plainContexts(batch)
	if !plain {
		return nil
	}
	n := len(batch)
	transactionIDs, globalIDs := make([]int64, n), make([]int64, n)
	ids, types, data, metadata := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, in := range batch {
		expected, event := expectedPosition(in), in.GetEvents()[0]
		transactionIDs[i], globalIDs[i] = expected.GetTransactionId(), expected.GetGlobalId()
		ids[i], types[i], data[i], metadata[i] = event.GetEventId(), event.GetEventType(), event.GetData(), event.GetMetadata()
	}
	return []any{transactionIDs, globalIDs, keys, values, ids, types, data, metadata}
}

// plainContexts are the keys that the criterion of every save has, nil where none has a criterion, and the values of one save after those of the other.
func plainContexts(batch []*orisunpb.SaveEventsRequest) (keys, values []string, plain bool) {
	for i, in := range batch {
		criteria := contextOf(in)
		if len(in.GetEvents()) != 1 || len(criteria) > 1 || i > 0 && len(criteria) == 1 != (keys != nil) {
			return nil, nil, false
		}
		for _, criterion := range criteria {
			tags := sortedTags(criterion)
			if i == 0 {
				keys, values = make([]string, len(tags)), make([]string, 0, len(batch)*len(tags))
				for j, tag := range tags {
					keys[j] = tag.GetKey()
				}
			}
			if !slices.EqualFunc(keys, tags, func(key string, tag *orisunpb.Tag) bool { return key == tag.GetKey() }) {
				return nil, nil, false
			}
			for _, tag := range tags {
				values = append(values, tag.GetValue())
			}
		}
	}
	return keys, values, true
}

// sortedTags are a criterion's by their keys, in which order the function of plain saves knows its shape.
func sortedTags(criterion *orisunpb.Criterion) []*orisunpb.Tag {
	tags := slices.Clone(criterion.GetTags())
	slices.SortStableFunc(tags, func(a, b *orisunpb.Tag) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return tags
}

// forgetSaving forgets a boundary's functions when they do not exist.
func (s *EventStore) forgetSaving(boundary string, err error) error {
	if isGone(err) {
		s.saving.Delete(boundary)
	}
	return err
}
