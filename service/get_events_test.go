package service_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

func count(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM public."+boundary+"_orisun_es_event").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func ids(page *orisunpb.GetEventsResponse) string {
	var all []string
	for _, e := range page.GetEvents() {
		all = append(all, e.GetEventId())
	}
	return strings.Join(all, " ")
}

// seed saves {a b} {c} {d e f}: positions {2,0} {2,1} {3,2} {6,3} {6,4} {6,5}.
func seed(t *testing.T, store orisunpb.EventStoreClient) {
	t.Helper()
	for _, save := range []string{"ab", "c", "def"} {
		request := &orisunpb.SaveEventsRequest{Boundary: boundary}
		for _, id := range save {
			request.Events = append(request.Events, event(string(id), fmt.Sprintf(`{"id": %q, "save": %q}`, string(id), save)))
		}
		if _, err := store.SaveEvents(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPagesBeginAtTheRequestedPosition(t *testing.T) {
	store, _ := dial(t)
	seed(t, store)
	const asc, desc = orisunpb.Direction_ASC, orisunpb.Direction_DESC
	for name, c := range map[string]struct {
		request *orisunpb.GetEventsRequest
		want    string
	}{
		"from the beginning":          {&orisunpb.GetEventsRequest{}, "a b c d e f"},
		"from the end":                {&orisunpb.GetEventsRequest{Direction: desc}, "f e d c b a"},
		"two from the end":            {&orisunpb.GetEventsRequest{Direction: desc, Count: 2}, "f e"},
		"from an event":               {&orisunpb.GetEventsRequest{FromPosition: at(6, 4)}, "e f"},
		"after an event":              {&orisunpb.GetEventsRequest{AfterPosition: at(6, 4)}, "f"},
		"back from an event":          {&orisunpb.GetEventsRequest{FromPosition: at(3, 2), Direction: desc}, "c b a"},
		"back after an event":         {&orisunpb.GetEventsRequest{AfterPosition: at(3, 2), Direction: desc}, "b a"},
		"the next page as clients do": {&orisunpb.GetEventsRequest{FromPosition: at(2, 2)}, "c d e f"},
		"within a save":               {&orisunpb.GetEventsRequest{FromPosition: at(6, 4), Count: 1}, "e"},
		"before the first":            {&orisunpb.GetEventsRequest{AfterPosition: at(-1, -1)}, "a b c d e f"},
		"from zero":                   {&orisunpb.GetEventsRequest{FromPosition: at(0, 0)}, "a b c d e f"},
		"a transaction between saves": {&orisunpb.GetEventsRequest{FromPosition: at(4, 0)}, "d e f"},
		"a pair below its save":       {&orisunpb.GetEventsRequest{FromPosition: at(6, 0)}, "d e f"},
		"beyond the last":             {&orisunpb.GetEventsRequest{AfterPosition: at(6, 5)}, ""},
		"far beyond":                  {&orisunpb.GetEventsRequest{FromPosition: at(1<<62, 1<<62)}, ""},
		"after all that can be":       {&orisunpb.GetEventsRequest{AfterPosition: at(math.MaxInt64, math.MaxInt64)}, ""},
		"back after all that can be": {&orisunpb.GetEventsRequest{
			AfterPosition: at(math.MaxInt64, math.MaxInt64), Direction: desc, Count: 1,
		}, "f"},
		"back from far beyond": {&orisunpb.GetEventsRequest{
			FromPosition: at(1<<62, 1<<62), Direction: desc, Count: 1,
		}, "f"},
		"by criterion": {&orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged("save",
			"ab")}}, "a b"},
		"by criterion with two tags": {&orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: tagged("save", "ab", "id", "b")},
		}, "b"},
		"by two criteria that overlap": {&orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: append(tagged("save", "ab"), tagged("event_type", "T", "id", "b")...)},
		}, "a b"},
		"by type": {&orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: tagged("eventType", "T")}, Count: 1,
		}, "a"},
		"by a key with two values": {&orisunpb.GetEventsRequest{
			Query: &orisunpb.Query{Criteria: tagged("id", "a", "id", "b")},
		}, ""},
		"by a criterion without tags": {
			&orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: tagged()}},
			"a b c d e f",
		},
		"by a query without criteria":   {&orisunpb.GetEventsRequest{Query: &orisunpb.Query{}}, "a b c d e f"},
		"the end, explicitly ascending": {&orisunpb.GetEventsRequest{FromPosition: at(6, 5), Direction: asc}, "f"},
	} {
		t.Run(name, func(t *testing.T) {
			c.request.Boundary = boundary
			for range 3 { // by the function, by a statement that was just prepared, by a cached one
				page, err := store.GetEvents(t.Context(), c.request)
				if err != nil {
					t.Fatal(err)
				}
				if got := ids(page); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

// TestACachedStatementOutlivesItsIndexAndItsTable: an index that is dropped changes no answer, and a table that comes
// back, as by a restore, is found at once.
func TestACachedStatementOutlivesItsIndexAndItsTable(t *testing.T) {
	store, pool := dial(t)
	seed(t, store)
	if _, err := store.CreateIndex(t.Context(), textIndex("save", "save")); err != nil {
		t.Fatal(err)
	}
	read := func() (string, error) {
		page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
			Boundary: boundary, Query: &orisunpb.Query{Criteria: tagged("save", "def")},
		})
		return ids(page), err
	}
	want := func() {
		t.Helper()
		for range 3 {
			if got, err := read(); err != nil || got != "d e f" {
				t.Fatalf("got %q (%v), want d e f", got, err)
			}
		}
	}
	execute := func(statement string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	want()
	execute("DROP INDEX public." + boundary + "_save_idx")
	want()
	execute("ALTER TABLE public." + boundary + "_orisun_es_event RENAME TO away")
	if got, err := read(); err == nil {
		t.Fatalf("got %q from a table that is gone", got)
	}
	execute("ALTER TABLE public.away RENAME TO " + boundary + "_orisun_es_event")
	want()
}

func TestErrorsOfBadReadsNameWhatIsWrong(t *testing.T) {
	store, _ := dial(t)
	for name, c := range map[string]struct {
		request *orisunpb.GetEventsRequest
		code    codes.Code
		field   string
	}{
		"no boundary":      {&orisunpb.GetEventsRequest{}, codes.InvalidArgument, "boundary"},
		"unknown boundary": {&orisunpb.GetEventsRequest{Boundary: "nowhere"}, codes.NotFound, ""},
		"too many":         {&orisunpb.GetEventsRequest{Boundary: boundary, Count: 10_001}, codes.InvalidArgument, "count"},
		"unknown direction": {
			&orisunpb.GetEventsRequest{Boundary: boundary, Direction: 7}, codes.InvalidArgument,
			"direction",
		},
		"two beginnings": {
			&orisunpb.GetEventsRequest{Boundary: boundary, FromPosition: at(1, 0), AfterPosition: at(1, 0)},
			codes.InvalidArgument, "after_position",
		},
		"too many criteria": {&orisunpb.GetEventsRequest{
			Boundary: boundary, Query: &orisunpb.Query{Criteria: make([]*orisunpb.Criterion, 257)},
		}, codes.InvalidArgument, "query.criteria"},
		"a long value": {&orisunpb.GetEventsRequest{
			Boundary: boundary, Query: &orisunpb.Query{Criteria: tagged("k", strings.Repeat("v", 4097))},
		}, codes.InvalidArgument, "query.criteria[0].tags[0].value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.GetEvents(t.Context(), c.request)
			wantViolation(t, err, c.code, c.field)
		})
	}
	_, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{Boundary: boundary})
	wantViolation(t, err, codes.InvalidArgument, "criteria")
	_, err = store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
		Boundary: boundary, Criteria: make([]*orisunpb.Criterion, 257),
	})
	wantViolation(t, err, codes.InvalidArgument, "criteria")
}

func TestAPageLargerThanAnAnswerIsRefusedAndTheAdvisedOneFits(t *testing.T) {
	store, _ := dial(t)
	large := strings.Repeat("x", maxEventBytes-4096)
	for i := range 6 {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{
				event(fmt.Sprint(i), fmt.Sprintf(`{"a": %q, "n": %d}`, large, i)),
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(status.Convert(err).Message(), "count at most 4") {
		t.Fatalf("got %v, want RESOURCE_EXHAUSTED that advises count 4", err)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary, Count: 4})
	if err != nil || len(page.GetEvents()) != 4 {
		t.Fatalf("the advised page has %d events: %v", len(page.GetEvents()), err)
	}
	criteria := make([]*orisunpb.Criterion, 6)
	for i := range criteria {
		criteria[i] = tagged("n", fmt.Sprint(i))[0]
	}
	_, err = store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
		Boundary: boundary, Criteria: criteria,
	})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("latest of six large events: %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestTheLatestOfEachCriterionAndWhatASaveOnThemExpects(t *testing.T) {
	store, _ := dial(t)
	read := func(criteria ...[]*orisunpb.Criterion) *orisunpb.GetLatestByCriteriaResponse {
		t.Helper()
		request := &orisunpb.GetLatestByCriteriaRequest{Boundary: boundary}
		for _, c := range criteria {
			request.Criteria = append(request.Criteria, c...)
		}
		answer, err := store.GetLatestByCriteria(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if nothing := read(tagged("id", "a")); nothing.GetContextPosition().GetGlobalId() != -1 ||
		nothing.GetContextPosition().GetTransactionId() != -1 || nothing.GetResults()[0].GetEvent() != nil {
		t.Errorf("of an empty boundary: %v", nothing)
	}
	seed(t, store)
	got := read(tagged("save", "def"), tagged("id", "missing"), tagged("id", "a"), tagged("save", "def"))
	var text []string
	for _, r := range got.GetResults() {
		text = append(text, r.GetCriterion().GetTags()[0].GetValue()+"="+r.GetEvent().GetEventId())
	}
	if want := "def=f missing= a=a def=f"; strings.Join(text, " ") != want {
		t.Errorf("got %v, want %s", text, want)
	}
	if p := got.GetContextPosition(); p.GetTransactionId() != 6 || p.GetGlobalId() != 5 {
		t.Errorf("context position %v, want {6,5}", p)
	}
	for _, c := range []struct {
		criterion []*orisunpb.Criterion
		want      string
		at        *orisunpb.Position
	}{{tagged("save", "ab"), "b", at(2, 1)}, {tagged(), "f", at(6, 5)}, {tagged("id", "missing"), "", at(-1, -1)}} {
		for range 3 { // one criterion is a page, which is asked for in other ways when it is asked for again
			if got := read(c.criterion); got.GetResults()[0].GetEvent().GetEventId() != c.want ||
				!proto.Equal(got.GetContextPosition(), c.at) {
				t.Errorf("of %v alone: %v, want %q at %v", c.criterion, got, c.want, c.at)
			}
		}
	}
}

// A page is encoded from PostgreSQL's binary rows, the latest event is not: both must be equal.
func TestAPageHoldsWhatPostgreSQLHolds(t *testing.T) {
	store, pool := dial(t)
	moments := []string{
		"0001-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00", "1999-12-31 23:59:59.5+00",
		"2000-01-01 00:00:00+00", "2026-11-23 10:46:53.123456+00", "9999-12-30 23:59:59.999999+00",
	}
	for i, moment := range moments {
		if _, err := pool.Exec(t.Context(),
			`INSERT INTO public.`+boundary+`_orisun_es_event (event_id, event_type, date_created, data, metadata)
			VALUES ($1, 'Größe', $2::text::timestamptz, jsonb_build_object('n', $1::text, 'pad', repeat('ü', 100 * $3::int)),
				'{"by": "psql"}')`, fmt.Sprint("e", i), moment, i); err != nil {
			t.Fatal(err)
		}
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary})
	if err != nil || len(page.GetEvents()) != len(moments) {
		t.Fatalf("%d events, %v; want %d", len(page.GetEvents()), err, len(moments))
	}
	for i, got := range page.GetEvents() {
		latest, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
			Boundary: boundary, Criteria: tagged("n", fmt.Sprint("e", i)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := latest.GetResults()[0].GetEvent(); !proto.Equal(got, want) {
			t.Errorf("the page has %v, want %v", got, want)
		}
		if want := strings.Fields(moments[i])[0]; got.GetDateCreated().AsTime().Format(time.DateOnly) != want {
			t.Errorf("event %d was created on %s, want %s", i, got.GetDateCreated().AsTime(), want)
		}
	}
}
