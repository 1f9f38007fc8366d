package migrations_test

import (
	"context"
	"testing"

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
