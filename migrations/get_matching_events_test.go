package migrations_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
)

// A read is one call of orisun.get_matching_events as the tests write it down.
type query struct {
	criteria   []criterion
	begin      *position
	inclusive  bool
	descending bool
	count      int32
}

func read(t testing.TB, tx db.DBTX, boundary string, q query) []db.OrisunEvent {
	t.Helper()
	params := db.GetMatchingEventsParams{
		Boundary: boundary, Criteria: criteriaJSON(t, q.criteria), Inclusive: q.inclusive, Descending: q.descending,
		Count: q.count,
	}
	if q.begin != nil {
		params.TransactionID, params.GlobalID = &q.begin.transactionID, &q.begin.globalID
	}
	events, err := db.New().GetMatchingEvents(t.Context(), tx, params)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return events
}

// readByServer reads the page as the server does, by the boundary's own read_page.
func readByServer(t testing.TB, tx db.DBTX, name string, q query) (ids []string) {
	t.Helper()
	var boundaries boundary.Boundaries
	own, err := boundaries.On(t.Context(), tx, name)
	if err != nil {
		t.Fatal(err)
	}
	params := db.ReadPageParams{
		Criteria: boundary.Criteria(wireCriteria(q.criteria)), Descending: q.descending, Count: q.count,
	}
	if q.begin != nil {
		err := tx.QueryRow(t.Context(), `SELECT r.* FROM orisun.page_range($1, $2, $3, $4) r`, q.begin.transactionID,
			q.begin.globalID, q.inclusive, q.descending).
			Scan(&params.AfterTransactionID, &params.AfterGlobalID, &params.EndTransactionID, &params.EndGlobalID)
		if err != nil {
			t.Fatal(err)
		}
	}
	events, err := db.New().ReadPage(t.Context(), own, params)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if len(params.Criteria) == 0 {
		all, err := db.New().ReadAll(t.Context(), own, db.ReadAllParams{
			AfterTransactionID: params.AfterTransactionID, AfterGlobalID: params.AfterGlobalID,
			EndTransactionID: params.EndTransactionID, EndGlobalID: params.EndGlobalID, Descending: params.Descending,
			Count: params.Count,
		})
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if diff := cmp.Diff(events, all); diff != "" {
			t.Errorf("read_page without criteria and read_all differ:\n%s", diff)
		}
	}
	for _, e := range events {
		ids = append(ids, e.EventID)
	}
	if len(params.Criteria) == 1 && q.begin == nil {
		first, err := db.New().ReadFirstOfEach(t.Context(), own, db.ReadFirstOfEachParams{
			Criteria: params.Criteria, Descending: q.descending, Count: q.count,
		})
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		var firstIDs []string
		for _, e := range first {
			firstIDs = append(firstIDs, e.EventID)
		}
		if diff := cmp.Diff(ids, firstIDs); diff != "" {
			t.Errorf("read_page of one criterion and first_of_each differ:\n%s", diff)
		}
	}
	return ids
}

func latest(t testing.TB, tx db.DBTX, name string, criteria []criterion) []db.OrisunFoundEvent {
	t.Helper()
	var boundaries boundary.Boundaries
	own, err := boundaries.On(t.Context(), tx, name)
	if err != nil {
		t.Fatal(err)
	}
	events, err := db.New().ReadFirstOfEach(t.Context(), own, db.ReadFirstOfEachParams{
		Criteria: boundary.Criteria(wireCriteria(criteria)), Descending: true, Count: 1,
	})
	if err != nil {
		t.Fatalf("latest: %v", err)
	}
	return events
}

func criteriaJSON(t testing.TB, criteria []criterion) string {
	t.Helper()
	type tags struct {
		Tags []map[string]string `json:"tags"`
	}
	encoded := make([]tags, len(criteria))
	for i, c := range criteria {
		encoded[i].Tags = []map[string]string{}
		for _, tag := range c {
			encoded[i].Tags = append(encoded[i].Tags, map[string]string{"key": tag.Key, "value": tag.Value})
		}
	}
	text, err := json.Marshal(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func quoteJSON(t testing.TB, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}
