package service

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oexza/orisun/db"
)

// saveRequests is orisun.save_requests, without the way through it: each boundary has a saving function of its own, and to find that
// out at every flush takes a fifth of a save's time. Its name never changes; where the function is gone, as after a restore, it is asked for anew.
func (s *EventStore) saveRequests(ctx context.Context, params db.SaveRequestsParams) ([]db.OrisunSaveResult, error) {
	statement, known := s.saving.Load(params.Boundary)
	if !known {
		name, err := s.queries.SavingFunction(ctx, s.config.Write, params.Boundary)
		if err != nil {
			return nil, err
		}
		statement = "-- name: SaveRequests :many\nSELECT request, outcome, transaction_id, global_id FROM " + name + "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
		s.saving.Store(params.Boundary, statement)
	}
	rows, err := s.config.Write.Query(ctx, statement.(string), params.ExpectedTransactionIds, params.ExpectedGlobalIds, params.CriterionRequests,
		params.TagCriteria, params.TagKeys, params.TagValues, params.EventRequests, params.EventIds, params.EventTypes, params.Data, params.Metadata)
	if err != nil {
		return nil, s.forgetSaving(params.Boundary, err)
	}
	results := make([]db.OrisunSaveResult, 0, len(params.ExpectedGlobalIds))
	var result db.OrisunSaveResult
	_, err = pgx.ForEachRow(rows, []any{&result.Request, &result.Outcome, &result.TransactionID, &result.GlobalID}, func() error {
		results = append(results, result)
		return nil
	})
	return results, s.forgetSaving(params.Boundary, err)
}

// forgetSaving forgets a boundary's function when it does not exist.
func (s *EventStore) forgetSaving(boundary string, err error) error {
	const undefinedFunction, invalidSchemaName = "42883", "3F000"
	var refused *pgconn.PgError
	if errors.As(err, &refused) && (refused.Code == undefinedFunction || refused.Code == invalidSchemaName) {
		s.saving.Delete(boundary)
	}
	return err
}
