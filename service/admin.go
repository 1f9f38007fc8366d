package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// Admin serves orisun.Admin. Its methods are safe for concurrent use.
type Admin struct {
	orisunpb.UnimplementedAdminServer

	store *EventStore
}

// NewAdmin returns a server whose indexes are those of store.
func NewAdmin(store *EventStore) *Admin { return &Admin{store: store} }

// CreateIndex is that of EventStore.
func (a *Admin) CreateIndex(ctx context.Context, in *orisunpb.CreateIndexRequest) (*orisunpb.CreateIndexResponse, error) {
	return a.store.CreateIndex(ctx, in)
}

// DropIndex is that of EventStore.
func (a *Admin) DropIndex(ctx context.Context, in *orisunpb.DropIndexRequest) (*orisunpb.DropIndexResponse, error) {
	return a.store.DropIndex(ctx, in)
}
