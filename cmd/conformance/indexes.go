package main

import (
	"slices"

	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

func indexes() []check {
	create := func(t *trial, name, key string) error {
		_, err := t.store.CreateIndex(t.ctx, &orisunpb.CreateIndexRequest{
			Boundary: t.boundary, Name: name, Fields: []*orisunpb.IndexField{{JsonKey: key}},
		})
		return err
	}
	drop := func(t *trial, name string) error {
		_, err := t.store.DropIndex(t.ctx, &orisunpb.DropIndexRequest{Boundary: t.boundary, Name: name})
		return err
	}
	return []check{
		{"created, listed, found, dropped", func(t *trial) {
			name := "i" + unique()[:8]
			t.wantCode("create", create(t, name, name), codes.OK)
			t.wantCode("the same again", create(t, name, name), codes.OK)
			t.wantCode("another of that name", create(t, name, "other"), codes.AlreadyExists)
			got, err := t.store.GetIndex(t.ctx, &orisunpb.GetIndexRequest{Boundary: t.boundary, Name: name})
			if err != nil || got.GetIndex().GetState() != orisunpb.IndexState_INDEX_STATE_READY ||
				got.GetIndex().GetFields()[0].GetJsonKey() != name {
				t.errorf("GetIndex: %v, %v", got, err)
			}
			list, err := t.store.ListIndexes(t.ctx, &orisunpb.ListIndexesRequest{Boundary: t.boundary})
			if err != nil ||
				!slices.ContainsFunc(list.GetIndexes(), func(d *orisunpb.IndexDefinition) bool { return d.GetName() == name }) {
				t.errorf("ListIndexes: %v, %v", list, err)
			}
			t.wantCode("drop", drop(t, name), codes.OK)
			_, err = t.store.GetIndex(t.ctx, &orisunpb.GetIndexRequest{Boundary: t.boundary, Name: name})
			t.wantCode("GetIndex, then", err, codes.NotFound)
		}},
		{"an index changes no answer", func(t *trial) {
			v, name := unique(), "i"+unique()[:8]
			t.save(nil, events(v, 3)...)
			t.wantCode("create", create(t, name, "v"), codes.OK)
			at := t.save(nil, event(v))
			if n := len(t.get(v, nil)); n != 4 {
				t.errorf("%d events, want 4", n)
			}
			_, err := t.trySave(condition(none(), tagged("v", v)), event(v))
			t.wantCode("a stale save", err, codes.AlreadyExists)
			t.wantPosition("the latest", t.latest(tagged("v", v)).GetContextPosition(), at)
			t.wantCode("drop", drop(t, name), codes.OK)
		}},
		{"Admin creates and drops indexes, too", func(t *trial) {
			name := "i" + unique()[:8]
			_, err := t.admin.CreateIndex(t.ctx, &orisunpb.CreateIndexRequest{
				Boundary: t.boundary, Name: name,
				Fields: []*orisunpb.IndexField{{JsonKey: "n", ValueType: orisunpb.ValueType_NUMERIC}},
			})
			t.wantCode("create", err, codes.OK)
			_, err = t.admin.DropIndex(t.ctx, &orisunpb.DropIndexRequest{Boundary: t.boundary, Name: name})
			t.wantCode("drop", err, codes.OK)
		}},
		{"an unknown index is NOT_FOUND", func(t *trial) { t.wantCode("drop", drop(t, "i"+unique()[:8]), codes.NotFound) }},
	}
}
