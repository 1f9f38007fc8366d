package migrations_test

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
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

// save calls the boundary's save_requests once, for all requests together. The results are in request order.
func save(t testing.TB, tx db.DBTX, name string, requests ...request) []db.OrisunSaveResult {
	t.Helper()
	results, err := trySave(t.Context(), tx, name, requests...)
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	return results
}

func trySave(ctx context.Context, tx db.DBTX, name string, requests ...request) ([]db.OrisunSaveResult, error) {
	results, err := trySaveUnsorted(ctx, tx, name, requests...)
	slices.SortFunc(results, func(a, b db.OrisunSaveResult) int { return cmp.Compare(a.Request, b.Request) })
	return results, err
}

// trySaveUnsorted returns the results in the order in which the requests count as saved one after the other.
func trySaveUnsorted(ctx context.Context, tx db.DBTX, name string, requests ...request) ([]db.OrisunSaveResult, error) {
	var boundaries boundary.Boundaries
	own, err := boundaries.On(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	params := db.SaveRequestsParams{CriterionRequests: []int32{}, Criteria: []string{}}
	for i, r := range requests {
		number := int32(i + 1)
		params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, r.expected.transactionID)
		params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, r.expected.globalID)
		for _, c := range boundary.Criteria(wireCriteria(r.criteria)) {
			params.CriterionRequests, params.Criteria = append(params.CriterionRequests, number), append(params.Criteria, c)
		}
		for _, e := range r.events {
			params.EventRequests = append(params.EventRequests, number)
			params.EventIds = append(params.EventIds, e.id)
			params.EventTypes = append(params.EventTypes, e.eventType)
			params.Data = append(params.Data, e.data)
			params.Metadata = append(params.Metadata, "{}")
		}
	}
	return db.New().SaveRequests(ctx, own, params)
}

func wireCriteria(criteria []criterion) []*orisunpb.Criterion {
	encoded := make([]*orisunpb.Criterion, len(criteria))
	for i, c := range criteria {
		encoded[i] = &orisunpb.Criterion{}
		for _, t := range c {
			encoded[i].Tags = append(encoded[i].Tags, &orisunpb.Tag{Key: t.Key, Value: t.Value})
		}
	}
	return encoded
}
