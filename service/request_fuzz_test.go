package service_test

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// refusable are the answers that a bad request may get. Anything else says that it got past the door.
func refusable(err error) bool {
	code := status.Code(err)
	return code == codes.OK || code == codes.InvalidArgument
}

// FuzzCriteriaFindWhatWasSaved saves an event with two fields of any names and values, and asks for it by each and by
// both, and by what it does not have.
func FuzzCriteriaFindWhatWasSaved(f *testing.F) {
	for _, seed := range [][4]string{
		{"a", "1", "b", "x"},
		{"", "", "'", `"`},
		{"event_type", "T", "eventType", "U"},
		{"a'b", "%L%I$1", `\`, `\u0000`},
		{"a", "\x00", "\xff", "ü"},
		{"a", "1", "a", "2"},
		{"{}", "[]", "->>", "a,b"},
		{" ", "\n", "\u2028", "\U0010ffff"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	store, _ := dial(f)
	var saved atomic.Int64
	f.Fuzz(func(t *testing.T, key, value, otherKey, otherValue string) {
		id := fmt.Sprint("fuzz-", saved.Add(1))
		fields := map[string]string{"id": id}
		fields[key], fields[otherKey] = value, otherValue
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		written, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{event(id, string(data))},
		})
		for _, text := range []string{key, value, otherKey, otherValue} {
			if !utf8.ValidString(text) {
				return // gRPC refuses such texts in criteria; in the document they became others
			}
		}
		if !refusable(err) {
			t.Fatalf("save %s: %v", data, err)
		}
		stored := err == nil
		for name, query := range map[string][]*orisunpb.Criterion{
			"one": tagged(key, value), "both": tagged(key, value, otherKey, otherValue), "itself": tagged("id", id),
			"neither": tagged(key, value+"?"),
		} {
			page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
				Boundary: boundary, Query: &orisunpb.Query{Criteria: query}, Count: 1, Direction: orisunpb.Direction_DESC,
			})
			if !refusable(err) {
				t.Fatalf("%s of %q: %v", name, query, err)
			}
			if err != nil || !stored {
				continue
			}
			want := true
			for _, tag := range query[0].GetTags() {
				has := fields[tag.GetKey()]
				if tag.GetKey() == "event_type" || tag.GetKey() == "eventType" {
					has = "T"
				}
				want = want && has == tag.GetValue()
			}
			found := len(page.GetEvents()) == 1 && page.GetEvents()[0].GetEventId() == id
			if found != want {
				t.Fatalf("%s: criterion %v finds %s: %t, want %t", name, query, data, found, want)
			}
			latest, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
				Boundary: boundary, Criteria: query,
			})
			if err != nil {
				t.Fatalf("the latest by %v: %v", query, err)
			}
			if same := latest.GetContextPosition().GetGlobalId() == written.GetLogPosition().GetGlobalId(); same != want {
				t.Fatalf("%s: the latest by %v lies at %v, the event at %v; same: %t, want %t",
					name, query, latest.GetContextPosition(), written.GetLogPosition(), same, want)
			}
		}
	})
}

// FuzzPositionsCutTheLog asks for pages from and after any position, both ways: each is exactly what lies there.
func FuzzPositionsCutTheLog(f *testing.F) {
	const events = 20
	for _, seed := range [][2]int64{
		{-1, -1}, {0, 0}, {1, 0}, {3, 2}, {4, 2}, {1 << 62, -1 << 63}, {-1 << 63, 1<<63 - 1}, {20, 19}, {21, 20}, {6, 5},
	} {
		f.Add(seed[0], seed[1], uint32(3), true, true)
		f.Add(seed[0], seed[1], uint32(0), false, false)
	}
	store, _ := dial(f)
	var log []*orisunpb.Position
	for i := 0; i < events; i += 2 {
		_, err := store.SaveEvents(f.Context(),
			&orisunpb.SaveEventsRequest{Boundary: boundary, Events: []*orisunpb.EventToSave{
				event(fmt.Sprint("e", i), "{}"), event(fmt.Sprint("e", i+1), "{}"),
			}})
		if err != nil {
			f.Fatal(err)
		}
		log = append(log, at(int64(i+2), int64(i)), at(int64(i+2), int64(i+1)))
	}
	f.Fuzz(func(t *testing.T, transactionID, globalID int64, count uint32, inclusive, descending bool) {
		request := &orisunpb.GetEventsRequest{Boundary: boundary, Count: count}
		if descending {
			request.Direction = orisunpb.Direction_DESC
		}
		read := at(transactionID, globalID)
		if inclusive {
			request.FromPosition = read
		} else {
			request.AfterPosition = read
		}
		page, err := store.GetEvents(t.Context(), request)
		if !refusable(err) {
			t.Fatalf("%v: %v", request, err)
		}
		if err != nil {
			return
		}
		var want []int64
		for _, p := range log {
			order := compare(p, read)
			if descending {
				order = -order
			}
			if order > 0 || inclusive && order == 0 {
				want = append(want, p.GetGlobalId())
			}
		}
		if descending {
			for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
				want[i], want[j] = want[j], want[i]
			}
		}
		if count > 0 && len(want) > int(count) {
			want = want[:count]
		}
		var got []int64
		for _, e := range page.GetEvents() {
			got = append(got, e.GetPosition().GetGlobalId())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: got %v, want %v", request, got, want)
		}
	})
}

func compare(a, b *orisunpb.Position) int {
	switch {
	case a.GetTransactionId() != b.GetTransactionId() && a.GetTransactionId() < b.GetTransactionId(),
		a.GetTransactionId() == b.GetTransactionId() && a.GetGlobalId() < b.GetGlobalId():
		return -1
	case a.GetTransactionId() == b.GetTransactionId() && a.GetGlobalId() == b.GetGlobalId():
		return 0
	default:
		return 1
	}
}
