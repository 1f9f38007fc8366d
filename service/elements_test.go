package service

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestElementsAreCountedBeforeTheyAreDecoded(t *testing.T) {
	criteria := func(n, tags int) (all []*orisunpb.Criterion) {
		for range n {
			all = append(all, &orisunpb.Criterion{Tags: make([]*orisunpb.Tag, tags)})
			for i := range all[len(all)-1].Tags {
				all[len(all)-1].Tags[i] = &orisunpb.Tag{Key: "k"}
			}
		}
		return all
	}
	events := make([]*orisunpb.EventToSave, maxEventsPerSave)
	for i := range events {
		events[i] = &orisunpb.EventToSave{Data: `{"events":[{},{}]}`}
	}
	for name, c := range map[string]struct {
		request proto.Message
		field   string // empty: none has too many
	}{
		"nothing":       {&orisunpb.PingRequest{}, ""},
		"10,000 events": {&orisunpb.SaveEventsRequest{Boundary: "b", Events: events}, ""},
		"10,001 events": {
			&orisunpb.SaveEventsRequest{Events: append(events[:maxEventsPerSave:maxEventsPerSave], events[0])},
			"events: has 10001 ",
		},
		"1,024 tags": {&orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: criteria(32, 32)}}, ""},
		"1,056 tags": {
			&orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: criteria(33, 32)}},
			"query.criteria.tags: has 1056 elements in the request, at most 1024 ",
		},
		"8,192 tags": {
			&orisunpb.GetLatestByCriteriaRequest{Criteria: criteria(256, 32)},
			"criteria.tags: has 8192 elements in the request, at most 1024 ",
		},
		"of a subscription": {
			&orisunpb.CatchUpSubscribeToEventStoreRequest{Query: &orisunpb.Query{Criteria: criteria(33, 32)}},
			"query.criteria.tags: has 1056 ",
		},
		"to explain": {
			&orisunpb.ExplainRequest{GetEvents: &orisunpb.GetEventsRequest{Query: &orisunpb.Query{Criteria: criteria(33, 32)}}},
			"get_events.query.criteria.tags: has 1056 ",
		},
		"in two lists of a save": {
			&orisunpb.SaveEventsRequest{
				Query: &orisunpb.SaveQuery{Criteria: criteria(31, 32), SubsetQuery: &orisunpb.Query{Criteria: criteria(2, 32)}},
			},
			"tags: has 1056 ",
		},
		"2,000 criteria": {&orisunpb.GetLatestByCriteriaRequest{Criteria: criteria(2000, 1)}, "criteria: has 2000 "},
		"2,000 roles":    {&orisunpb.CreateUserRequest{Roles: make([]string, 2000)}, "roles: has 2000 "},
		"in a subset, too": {&orisunpb.SaveEventsRequest{
			Query: &orisunpb.SaveQuery{SubsetQuery: &orisunpb.Query{Criteria: criteria(2000, 0)}},
		}, "criteria: has 2000 "},
	} {
		wire, err := proto.Marshal(c.request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := protojson.Marshal(c.request)
		if err != nil {
			t.Fatal(err)
		}
		message := c.request.ProtoReflect().Descriptor()
		for form, err := range map[string]error{
			"protobuf": CheckElements(message, wire), "JSON": CheckJSONElements(message, text),
		} {
			if c.field == "" && err != nil ||
				c.field != "" && (status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.field)) {
				t.Errorf("%s in %s: %v", name, form, err)
			}
		}
	}
}

func TestWhatIsNoMessageIsRefusedOrLeftToTheDecoder(t *testing.T) {
	message := (&orisunpb.SaveEventsRequest{}).ProtoReflect().Descriptor()
	if err := CheckElements(message, []byte{0x22, 0x05, 0x00}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a field that is cut off: %v", err)
	}
	for _, text := range []string{
		"", "null", "[]", `{"events":`, `{"events":5}`, `{"events":[{},`, `{"nothing":[{},{}]}`, `{"events":{}}`, "\xff",
	} {
		if err := CheckJSONElements(message, []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	broken := append([]byte(`{"events":[{}`), bytes.Repeat([]byte(",{}"), maxEventsPerSave)...) // it never ends
	if err := CheckJSONElements(message, broken); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many before the JSON breaks off: %v", err)
	}
}
