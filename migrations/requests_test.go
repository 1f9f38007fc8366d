package migrations_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
)

// A request is one save as the tests write it down.
type request struct {
	expected position
	criteria []criterion
	events   []event
}

type position struct{ transactionID, globalID int64 }

var none = position{-1, -1}

// A criterion's tags are pairs, since a key may come twice.
type criterion []tag

type tag struct{ Key, Value string }

type event struct {
	id, eventType, data string
}

// save calls orisun.save_requests once, for all requests together.
func save(t testing.TB, tx db.DBTX, boundary string, requests ...request) []db.OrisunSaveResult {
	t.Helper()
	results, err := trySave(t.Context(), tx, boundary, requests...)
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	return results
}

func trySave(ctx context.Context, tx db.DBTX, boundary string, requests ...request) ([]db.OrisunSaveResult, error) {
	params := db.SaveRequestsParams{Boundary: boundary}
	for i, r := range requests {
		number := int32(i + 1)
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, r.expected.transactionID)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, r.expected.globalID)
		for _, c := range r.criteria {
			params.CriterionRequests = append(params.CriterionRequests, number)
			for _, tag := range c {
				params.TagCriteria = append(params.TagCriteria, int32(len(params.CriterionRequests)))
				params.TagKeys = append(params.TagKeys, tag.Key)
				params.TagValues = append(params.TagValues, tag.Value)
			}
		}
		for _, e := range r.events {
			params.EventRequests = append(params.EventRequests, number)
			params.EventIds = append(params.EventIds, e.id)
			params.EventTypes = append(params.EventTypes, e.eventType)
			params.Data = append(params.Data, e.data)
			params.Metadata = append(params.Metadata, "{}")
		}
	}
	return db.New().SaveRequests(ctx, tx, params)
}

// trySavePlain saves requests of one event each as the server does when their contexts have the same keys: none of them a criterion, or each one.
func trySavePlain(ctx context.Context, tx db.DBTX, boundary string, requests ...request) ([]db.OrisunSaveResult, error) {
	functions, err := db.New().SavingFunctions(ctx, tx, boundary)
	if err != nil {
		return nil, err
	}
	var params db.SaveRequestsParams
	var keys, values []string // nil: no criterion
	for _, r := range requests {
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, r.expected.transactionID)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, r.expected.globalID)
		for _, c := range r.criteria {
			keys = []string{}
			c = slices.Clone(c)
			slices.SortStableFunc(c, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
			for _, tag := range c {
				keys, values = append(keys, tag.Key), append(values, tag.Value)
			}
		}
		params.EventIds = append(params.EventIds, r.events[0].id)
		params.EventTypes = append(params.EventTypes, r.events[0].eventType)
		params.Data = append(params.Data, r.events[0].data)
		params.Metadata = append(params.Metadata, "{}")
	}
	rows, err := tx.Query(ctx, `SELECT * FROM `+functions.Plain+`($1, $2, $3, $4, $5, $6, $7, $8)`,
		params.ExpectedTransactionIds, params.ExpectedGlobalIds, keys, values, params.EventIds, params.EventTypes, params.Data, params.Metadata)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[db.OrisunSaveResult])
}
