package service_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestAllPositionsOfAnAnswerAreThatOfTheLastEvent(t *testing.T) {
	store, _ := dial(t)
	got, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{event("a", `{}`), event("b", `{}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetLogPosition().GetTransactionId() != 2 || got.GetLogPosition().GetGlobalId() != 1 ||
		got.GetNewGlobalId() != 1 || got.GetLatestTransactionId() != 2 || got.GetLatestGlobalId() != 1 {
		t.Errorf("got %v, want {2,1} everywhere", got)
	}
}

func TestAConflictReportsExpectedAndActualPosition(t *testing.T) {
	store, _ := dial(t)
	save := func(id string, expected *orisunpb.Position) error {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary,
			Query: &orisunpb.SaveQuery{
				ExpectedPosition: expected, SubsetQuery: &orisunpb.Query{Criteria: tagged("account", "alice")},
			},
			Events: []*orisunpb.EventToSave{event(id, `{"account": "alice"}`)},
		})
		return err
	}
	if err := save("a", nil); err != nil {
		t.Fatal(err)
	}
	info := wantReason(t, save("b", at(-1, -1)), codes.AlreadyExists, "CONTEXT_CHANGED")
	for key, want := range map[string]string{
		"boundary": boundary, "expected_transaction_id": "-1", "expected_global_id": "-1", "actual_transaction_id": "1",
		"actual_global_id": "0",
	} {
		if info.GetMetadata()[key] != want {
			t.Errorf("%s is %q, want %q", key, info.GetMetadata()[key], want)
		}
	}
	wantReason(t, save("b", at(0, 0)), codes.AlreadyExists, "CONTEXT_CHANGED")
	astray := wantReason(t, save("b", at(123, 456)), codes.AlreadyExists, "CONTEXT_CHANGED")
	if astray.GetMetadata()["actual_global_id"] != "-1" {
		t.Errorf("an expected position of no event: actual is %v", astray.GetMetadata())
	}
	if err := save("b", at(1, 0)); err != nil {
		t.Errorf("a save that saw alice's event: %v", err)
	}
}

// Clients that exist recognise a conflict by the text of its status alone.
func TestTheTextOfAConflictIsWhatClientsLookFor(t *testing.T) {
	store, _ := dial(t)
	save := func(query *orisunpb.SaveQuery, ids ...string) error {
		request := &orisunpb.SaveEventsRequest{Boundary: boundary, Query: query}
		for _, id := range ids {
			request.Events = append(request.Events, event(id, `{"account": "alice"}`))
		}
		_, err := store.SaveEvents(t.Context(), request)
		return err
	}
	if err := errors.Join(save(nil, "a", "b", "c"), save(nil, "d")); err != nil {
		t.Fatal(err)
	}
	java := regexp.MustCompile(`Expected\s+(\d+),\s+Actual\s+(\d+)`)
	for name, c := range map[string]struct {
		expected         *orisunpb.Position
		criteria         []*orisunpb.Criterion
		wantOld, wantNew string
	}{
		"a later event":           {at(3, 2), tagged("account", "alice"), "3", "4"},
		"no event was expected":   {at(-1, -1), tagged("account", "alice"), "0", "4"},
		"nothing was expected":    {nil, tagged("account", "alice"), "0", "4"},
		"the position of nothing": {at(123, 456), tagged("account", "alice"), "123", "0"},
		"a negative position":     {at(-7, 5), tagged("account", "alice"), "0", "0"},
		"the whole boundary":      {at(3, 2), []*orisunpb.Criterion{{}}, "3", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			err := save(&orisunpb.SaveQuery{ExpectedPosition: c.expected, Criteria: c.criteria}, "new")
			wantReason(t, err, codes.AlreadyExists, "CONTEXT_CHANGED")
			text := status.Convert(err).Message()
			if want := fmt.Sprintf("OptimisticConcurrencyException (AlreadyExists): Expected %s, Actual %s: ",
				c.wantOld, c.wantNew); !strings.HasPrefix(text, want) {
				t.Errorf("the text is %q, want %q at its beginning", text, want)
			}
			if found := java.FindStringSubmatch(text); len(found) != 3 || found[1] != c.wantOld || found[2] != c.wantNew {
				t.Errorf("the Java client finds %q in %q", found, text)
			}
		})
	}
}

func TestAQueryWithoutCriteriaIsTheWholeBoundary(t *testing.T) {
	everything := &orisunpb.Query{}
	many := make([]*orisunpb.Criterion, 256)
	for i := range many {
		many[i] = tagged("account", fmt.Sprint(i))[0]
	}
	for name, c := range map[string]struct {
		query *orisunpb.SaveQuery
		want  codes.Code
	}{
		"no query":                      {nil, codes.OK},
		"an empty query":                {&orisunpb.SaveQuery{}, codes.OK},
		"an expected position alone":    {&orisunpb.SaveQuery{ExpectedPosition: at(-1, -1)}, codes.OK},
		"subset_query, absent position": {&orisunpb.SaveQuery{SubsetQuery: everything}, codes.AlreadyExists},
		"subset_query, no event expected": {
			&orisunpb.SaveQuery{ExpectedPosition: at(-1, -1), SubsetQuery: everything},
			codes.AlreadyExists,
		},
		"subset_query, an old position": {
			&orisunpb.SaveQuery{ExpectedPosition: at(1, 0), SubsetQuery: everything},
			codes.AlreadyExists,
		},
		"subset_query, the last position": {
			&orisunpb.SaveQuery{ExpectedPosition: at(2, 1), SubsetQuery: everything},
			codes.OK,
		},
		"beside criteria that nothing meets": {&orisunpb.SaveQuery{
			Criteria: tagged("account", "bob"), SubsetQuery: everything,
		}, codes.AlreadyExists},
		"beside as many criteria as may be": {&orisunpb.SaveQuery{
			ExpectedPosition: at(1, 0), Criteria: many, SubsetQuery: everything,
		}, codes.AlreadyExists},
		"a criterion without tags": {&orisunpb.SaveQuery{Criteria: []*orisunpb.Criterion{{}}}, codes.AlreadyExists},
	} {
		t.Run(name, func(t *testing.T) {
			store, pool := dial(t)
			for _, id := range []string{"a", "b"} {
				if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
					Boundary: boundary, Events: []*orisunpb.EventToSave{event(id, `{"account": "alice"}`)},
				}); err != nil {
					t.Fatal(err)
				}
			}
			// two ways into SQL
			for _, events := range [][]*orisunpb.EventToSave{
				{event("one", `{}`)}, {event("first", `{}`), event("second", `{}`)},
			} {
				_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
					Boundary: boundary, Query: c.query, Events: events,
				})
				if status.Code(err) != c.want {
					t.Errorf("%d events: %v, want %v", len(events), err, c.want)
				}
				if c.want == codes.OK {
					break // the boundary is another one now
				}
			}
			if n := count(t, pool); (n > 2) != (c.want == codes.OK) {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

func TestDataAndMetadataThatAreEmptyOrNullAreAnEmptyObject(t *testing.T) {
	store, _ := dial(t)
	documents := []string{"", "null", " null\n", " ", "{}"}
	var events []*orisunpb.EventToSave
	for i, document := range documents {
		events = append(events, &orisunpb.EventToSave{
			EventId: fmt.Sprint(i), EventType: "T", Data: document, Metadata: document,
		})
	}
	first, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{Boundary: boundary, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	// saves of one event have a way of their own into SQL
	alone := &orisunpb.EventToSave{EventId: "alone", EventType: "T", Data: "null"}
	if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{alone},
	}); err != nil {
		t.Fatal(err)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary})
	if err != nil || len(page.GetEvents()) != len(documents)+1 {
		t.Fatalf("%d events are stored: %v", len(page.GetEvents()), err)
	}
	for _, stored := range page.GetEvents() {
		if stored.GetData() != "{}" || stored.GetMetadata() != "{}" {
			t.Errorf("event %s has the data %q and the metadata %q", stored.GetEventId(), stored.GetData(), stored.GetMetadata())
		}
	}
	for i := range events { // the same save, spelled in another way
		events[i].Data, events[i].Metadata = "{}", ""
	}
	again, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{Boundary: boundary, Events: events})
	if err != nil || again.GetLogPosition().GetGlobalId() != first.GetLogPosition().GetGlobalId() {
		t.Errorf("a retry: %v, %v, want the position %v", again, err, first.GetLogPosition())
	}
}

func TestBothListsOfCriteriaAddUp(t *testing.T) {
	request := &orisunpb.SaveEventsRequest{
		Boundary: boundary,
		Query:    &orisunpb.SaveQuery{Criteria: tagged("a", "1"), SubsetQuery: &orisunpb.Query{Criteria: tagged("b", "2")}},
		Events:   []*orisunpb.EventToSave{event("new", `{}`)},
	}
	for i, data := range []string{`{"a": 1}`, `{"b": 2}`} {
		store, _ := dial(t)
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{event("old", data)},
		}); err != nil {
			t.Fatal(err)
		}
		_, err := store.SaveEvents(t.Context(), request)
		if status.Code(err) != codes.AlreadyExists {
			t.Errorf("list %d does not count: %v", i, err)
		}
	}
}

func TestASaveSentSixteenTimesAtOnceIsStoredOnce(t *testing.T) {
	store, pool := dial(t)
	request := &orisunpb.SaveEventsRequest{
		Boundary: boundary,
		Query:    &orisunpb.SaveQuery{Criteria: tagged("account", "alice")},
		Events:   []*orisunpb.EventToSave{event("a", `{"account": "alice", "n": 1.0}`), event("b", `{}`)},
	}
	var answers [16]*orisunpb.WriteResult
	var errs [16]error
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() { answers[i], errs[i] = store.SaveEvents(t.Context(), request) })
	}
	wait.Wait()
	for i := range answers {
		if errs[i] != nil || answers[i].GetLogPosition().GetGlobalId() != 1 ||
			answers[i].GetLogPosition().GetTransactionId() != 2 {
			t.Errorf("call %d: %v, %v; want position {2,1}", i, answers[i], errs[i])
		}
	}
	if n := count(t, pool); n != 2 {
		t.Errorf("%d events are stored, want 2", n)
	}
	_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{event("a", `{"account": "bob"}`)},
	})
	wantReason(t, err, codes.FailedPrecondition, "EVENT_ID_REUSED")
}

func TestErrorsOfBadSavesNameWhatIsWrongAndStoreNothing(t *testing.T) {
	store, pool := dial(t)
	long := strings.Repeat("x", 257)
	one := func(e *orisunpb.EventToSave) *orisunpb.SaveEventsRequest {
		return &orisunpb.SaveEventsRequest{Boundary: boundary, Events: []*orisunpb.EventToSave{e}}
	}
	data := func(text string) *orisunpb.SaveEventsRequest { return one(event("a", text)) }
	context := func(criteria []*orisunpb.Criterion) *orisunpb.SaveEventsRequest {
		return &orisunpb.SaveEventsRequest{
			Boundary: boundary, Query: &orisunpb.SaveQuery{Criteria: criteria},
			Events: []*orisunpb.EventToSave{event("a", `{}`)},
		}
	}
	many := make([]*orisunpb.EventToSave, 10_001)
	for i := range many {
		many[i] = event(fmt.Sprint(i), `{}`)
	}
	for name, c := range map[string]struct {
		request *orisunpb.SaveEventsRequest
		code    codes.Code
		field   string
	}{
		"no boundary": {
			&orisunpb.SaveEventsRequest{Events: []*orisunpb.EventToSave{event("a", `{}`)}},
			codes.InvalidArgument, "boundary",
		},
		"a NUL in the boundary": {&orisunpb.SaveEventsRequest{
			Boundary: "a\x00", Events: []*orisunpb.EventToSave{event("a", `{}`)},
		}, codes.InvalidArgument, "boundary"},
		"unknown boundary": {&orisunpb.SaveEventsRequest{
			Boundary: "nowhere", Events: []*orisunpb.EventToSave{event("a", `{}`)},
		}, codes.NotFound, ""},
		"a name PostgreSQL cuts": {&orisunpb.SaveEventsRequest{
			Boundary: strings.Repeat("b", 27), Events: []*orisunpb.EventToSave{event("a", `{}`)},
		}, codes.InvalidArgument, "boundary"},
		"no events": {&orisunpb.SaveEventsRequest{Boundary: boundary}, codes.InvalidArgument, "events"},
		"too many events": {
			&orisunpb.SaveEventsRequest{Boundary: boundary, Events: many}, codes.InvalidArgument,
			"events",
		},
		"no event id":           {one(event("", `{}`)), codes.InvalidArgument, "events[0].event_id"},
		"a long event id":       {one(event(long, `{}`)), codes.InvalidArgument, "events[0].event_id"},
		"a NUL in the event id": {one(event("a\x00", `{}`)), codes.InvalidArgument, "events[0].event_id"},
		"no event type": {
			one(&orisunpb.EventToSave{EventId: "a", Data: `{}`}), codes.InvalidArgument,
			"events[0].event_type",
		},
		"a long event type": {
			one(&orisunpb.EventToSave{EventId: "a", EventType: long, Data: `{}`}),
			codes.InvalidArgument, "events[0].event_type",
		},
		"the same id twice": {
			&orisunpb.SaveEventsRequest{
				Boundary: boundary, Events: []*orisunpb.EventToSave{event("a", `{}`), event("b", `{}`), event("a", `{}`)},
			},
			codes.InvalidArgument, "events[2].event_id",
		},
		"not JSON":                 {data(`{"a": }`), codes.InvalidArgument, "events[0].data"},
		"a JSON array":             {data(`[1]`), codes.InvalidArgument, "events[0].data"},
		"a JSON string":            {data(`"a"`), codes.InvalidArgument, "events[0].data"},
		"two JSON objects":         {data(`{} {}`), codes.InvalidArgument, "events[0].data"},
		"an escaped NUL":           {data(`{"a": "\u0000"}`), codes.InvalidArgument, "events[0].data"},
		"an escaped NUL in a name": {data(`{"\u0000": 1}`), codes.InvalidArgument, "events[0].data"},
		"a lone high surrogate":    {data(`{"a": "\ud800"}`), codes.InvalidArgument, "events[0].data"},
		"a lone low surrogate":     {data(`{"a": "\udc00"}`), codes.InvalidArgument, "events[0].data"},
		"a number beyond numeric":  {data(`{"a": 1e131072}`), codes.InvalidArgument, "events[0].data"},
		"a number too fine":        {data(`{"a": 1e-16384}`), codes.InvalidArgument, "events[0].data"},
		"20,000 levels": {
			data(`{"a": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`),
			codes.InvalidArgument, "events[0].data",
		},
		"2 MiB": {
			data(`{"a": "` + strings.Repeat("x", 2<<20) + `"}`), codes.InvalidArgument,
			"events[0].data",
		},
		"short, but 2 MiB in full": {
			data(`{"a": [` + strings.Repeat("1e131071,", 15) + `1e131071]}`), codes.InvalidArgument,
			"events[0].data",
		},
		"metadata that is no JSON": {
			one(&orisunpb.EventToSave{EventId: "a", EventType: "T", Data: `{}`, Metadata: `x`}),
			codes.InvalidArgument, "events[0].metadata",
		},
		"metadata beyond a header": {one(&orisunpb.EventToSave{
			EventId: "a", EventType: "T", Data: `{}`, Metadata: `{"m": "` + strings.Repeat("x", 20<<10-8) + `"}`,
		}), codes.InvalidArgument, "events[0].metadata"},
		"metadata that is an array": {
			one(&orisunpb.EventToSave{EventId: "a", EventType: "T", Data: `{}`, Metadata: `[]`}),
			codes.InvalidArgument, "events[0].metadata",
		},
		"a tag without a key": {context(tagged("", "v")), codes.InvalidArgument, "query.criteria[0].tags[0].key"},
		"a long key":          {context(tagged(long, "v")), codes.InvalidArgument, "query.criteria[0].tags[0].key"},
		"a NUL in a key":      {context(tagged("k\x00", "v")), codes.InvalidArgument, "query.criteria[0].tags[0].key"},
		"a NUL in a value": {
			context(tagged("k", "v\x00")), codes.InvalidArgument,
			"query.criteria[0].tags[0].value",
		},
		"a long value": {
			context(tagged("k", strings.Repeat("v", 4097))), codes.InvalidArgument,
			"query.criteria[0].tags[0].value",
		},
		"too many tags": {
			context(tagged(strings.Split(strings.Repeat("k,v,", 33)+"k", ",")[:66]...)),
			codes.InvalidArgument, "query.criteria[0].tags",
		},
		"too many criteria": {context(make([]*orisunpb.Criterion, 257)), codes.InvalidArgument, "query.criteria"},
		"too many in both lists": {&orisunpb.SaveEventsRequest{
			Boundary: boundary,
			Events:   []*orisunpb.EventToSave{event("a", `{}`)}, Query: &orisunpb.SaveQuery{
				Criteria: make([]*orisunpb.Criterion, 200), SubsetQuery: &orisunpb.Query{Criteria: make([]*orisunpb.Criterion, 57)},
			},
		}, codes.InvalidArgument, "query"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.SaveEvents(t.Context(), c.request)
			wantViolation(t, err, c.code, c.field)
		})
	}
	if n := count(t, pool); n != 0 {
		t.Errorf("%d events are stored, want none", n)
	}
}

func TestWhatIsAtTheLimitIsSavedAndReadBack(t *testing.T) {
	store, _ := dial(t)
	text := strings.Repeat("x", 256)
	nested := `{"a": ` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`
	events := []*orisunpb.EventToSave{
		{EventId: text, EventType: text, Data: `{}`},
		event("nested", nested),
		event("large", `{"a": "`+strings.Repeat("x", maxEventBytes-4096)+`"}`),
		event("wide", `{"a": 9007199254740993, "b": 1e131071, "c": 1e-16383}`),
	}
	if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: events,
	}); err != nil {
		t.Fatal(err)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.GetEvents()) != 4 || page.GetEvents()[0].GetMetadata() != `{}` ||
		page.GetEvents()[1].GetData() != nested ||
		page.GetEvents()[2].GetData() != events[2].GetData() ||
		!strings.HasPrefix(page.GetEvents()[3].GetData(), `{"a": 9007199254740993, "b": 1000`) {
		t.Errorf("what is read back differs")
	}
}

func wantReason(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && s.Code() == code && info.GetReason() == reason &&
			info.GetDomain() == "orisun" {
			return info
		}
	}
	t.Fatalf("got %v %v, want %v with reason %s", err, s.Details(), code, reason)
	return nil
}

// wantViolation wants a code and, where a field is named, the violation of just that field.
func wantViolation(t *testing.T, err error, code codes.Code, field string) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code {
		t.Fatalf("got %v, want %v", err, code)
	}
	if field == "" {
		return
	}
	for _, detail := range s.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) == 1 &&
			bad.GetFieldViolations()[0].GetField() == field {
			if !strings.Contains(s.Message(), field+": ") {
				t.Errorf("the message %q does not name the field", s.Message())
			}
			return
		}
	}
	t.Fatalf("got %v, want a violation of %s", s.Details(), field)
}
