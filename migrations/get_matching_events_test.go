package migrations_test

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
)

// A question is one call of orisun.get_matching_events as the tests write it down.
type question struct {
	criteria   []criterion
	begin      *position
	inclusive  bool
	descending bool
	count      int32
}

func read(t testing.TB, tx db.DBTX, boundary string, q question) []db.OrisunEvent {
	t.Helper()
	params := db.GetMatchingEventsParams{
		Boundary: boundary, Criteria: criteriaJSON(t, q.criteria), Inclusive: q.inclusive, Descending: q.descending, Count: q.count,
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

// readComposed reads with the statement that orisun.compose_page composes, if it does.
func readComposed(t testing.TB, tx db.DBTX, boundary string, q question) (composed bool, ids []string) {
	t.Helper()
	params := db.ComposePageParams{Boundary: boundary, Bound: q.begin != nil, Descending: q.descending}
	err := tx.QueryRow(t.Context(), `SELECT tag_criteria, tag_keys, tag_values FROM orisun.read_tags($1)`, criteriaJSON(t, q.criteria)).
		Scan(&params.TagCriteria, &params.TagKeys, &params.TagValues)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := db.New().ComposePage(t.Context(), tx, params)
	if err != nil || statement == "" {
		return false, nil
	}
	var transactionID, globalID, begin *int64
	if q.begin != nil {
		transactionID, globalID = &q.begin.transactionID, &q.begin.globalID
	}
	if err := tx.QueryRow(t.Context(), `SELECT orisun.page_begin($1, $2, $3, $4)`, transactionID, globalID, q.inclusive, q.descending).Scan(&begin); err != nil {
		t.Fatal(err)
	}
	rows, err := tx.Query(t.Context(), statement, params.TagValues, q.count, transactionID, begin, transactionID, begin)
	if err != nil {
		t.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[db.OrisunEvent])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		ids = append(ids, e.EventID)
	}
	return true, ids
}

func latest(t testing.TB, tx db.DBTX, boundary string, criteria []criterion) []db.OrisunLatestEvent {
	t.Helper()
	events, err := db.New().GetLatestByCriteria(t.Context(), tx, db.GetLatestByCriteriaParams{Boundary: boundary, Criteria: criteriaJSON(t, criteria)})
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
