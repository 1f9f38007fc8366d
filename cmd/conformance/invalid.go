package main

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

func invalid() []check {
	save := func(name, field string, change func(in *orisunpb.SaveEventsRequest)) check {
		return check{name, func(t *trial) {
			in := &orisunpb.SaveEventsRequest{Boundary: t.boundary, Events: events("x", 1)}
			change(in)
			_, err := t.store.SaveEvents(t.ctx, in)
			t.wantField("the save", err, field)
		}}
	}
	type in = *orisunpb.SaveEventsRequest
	long := strings.Repeat("x", 257)
	return []check{
		save("a save without events", "events", func(s in) { s.Events = nil }),
		save("a save without a boundary", "boundary", func(s in) { s.Boundary = "" }),
		save("an event without an id", "events[0].event_id", func(s in) { s.Events[0].EventId = "" }),
		save("an event without a type", "events[0].event_type", func(s in) { s.Events[0].EventType = "" }),
		save("an id that is too long", "events[0].event_id", func(s in) { s.Events[0].EventId = long }),
		save("a type that is too long", "events[0].event_type", func(s in) { s.Events[0].EventType = long }),
		save("an id twice", "events[1].event_id", func(s in) { s.Events = append(s.Events, s.Events[0]) }),
		save("data that is no JSON", "events[0].data", func(s in) { s.Events[0].Data = "{" }),
		save("data that is no object", "events[0].data", func(s in) { s.Events[0].Data = "[1]" }),
		save("metadata that is no object", "events[0].metadata", func(s in) { s.Events[0].Metadata = `"x"` }),
		save("data with a NUL", "events[0].data", func(s in) { s.Events[0].Data = `{"a": "\u0000"}` }),
		save(
			"a tag without a key",
			"query.subset_query.criteria[0].tags[0].key",
			func(s in) { s.Query = condition(none(), tagged("", "x")) },
		),
		{"both positions of a page", func(t *trial) {
			_, err := t.store.GetEvents(
				t.ctx,
				&orisunpb.GetEventsRequest{Boundary: t.boundary, FromPosition: none(), AfterPosition: none()},
			)
			t.wantCode("the page", err, codes.InvalidArgument)
		}},
		{"latest without criteria", func(t *trial) {
			_, err := t.store.GetLatestByCriteria(t.ctx, &orisunpb.GetLatestByCriteriaRequest{Boundary: t.boundary})
			t.wantField("latest", err, "criteria")
		}},
		{"an unknown boundary is NOT_FOUND", func(t *trial) {
			nowhere := "nowhere_" + unique()[:8]
			_, err := t.store.SaveEvents(t.ctx, &orisunpb.SaveEventsRequest{Boundary: nowhere, Events: events("x", 1)})
			t.wantCode("a save", err, codes.NotFound)
			_, err = t.store.GetEvents(t.ctx, &orisunpb.GetEventsRequest{Boundary: nowhere})
			t.wantCode("a page", err, codes.NotFound)
		}},
	}
}

func limits() []check {
	get := func(name, field string, change func(in *orisunpb.GetEventsRequest)) check {
		return check{name, func(t *trial) {
			in := &orisunpb.GetEventsRequest{Boundary: t.boundary, Query: &orisunpb.Query{}}
			change(in)
			_, err := t.store.GetEvents(t.ctx, in)
			if field == "" {
				t.wantCode("the page", err, codes.OK)
				return
			}
			t.wantField("the page", err, field)
		}}
	}
	criteria := func(n, tags int) (all []*orisunpb.Criterion) {
		for range n {
			c := &orisunpb.Criterion{}
			for i := range tags {
				c.Tags = append(c.Tags, &orisunpb.Tag{Key: fmt.Sprint("k", i), Value: "x"})
			}
			all = append(all, c)
		}
		return all
	}
	type in = *orisunpb.GetEventsRequest
	return []check{
		get("a page of 10,000", "", func(r in) { r.Count = 10_000 }),
		get("a page of 10,001", "count", func(r in) { r.Count = 10_001 }),
		get("256 criteria", "", func(r in) { r.Query.Criteria = criteria(256, 1) }),
		get("257 criteria", "query.criteria", func(r in) { r.Query.Criteria = criteria(257, 1) }),
		get("32 tags", "", func(r in) { r.Query.Criteria = criteria(1, 32) }),
		get("33 tags", "query.criteria[0].tags", func(r in) { r.Query.Criteria = criteria(1, 33) }),
		get(
			"a value of 4,096 bytes",
			"",
			func(r in) { r.Query.Criteria = []*orisunpb.Criterion{tagged("v", strings.Repeat("x", 4096))} },
		),
		get(
			"a value of 4,097 bytes",
			"query.criteria[0].tags[0].value",
			func(r in) { r.Query.Criteria = []*orisunpb.Criterion{tagged("v", strings.Repeat("x", 4097))} },
		),
		{"a page of which nothing says how long has 1,000 events", func(t *trial) {
			v := unique()
			t.save(nil, events(v, 1001)...)
			if n := len(t.get(v, nil)); n != 1000 {
				t.errorf("it has %d", n)
			}
		}},
	}
}
