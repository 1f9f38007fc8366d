package service

import (
	"context"
	"sync/atomic"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// Admin serves orisun.Admin. Its methods are safe for concurrent use.
type Admin struct {
	orisunpb.UnimplementedAdminServer

	store    *EventStore
	boundary string // ORISUN_ADMIN_BOUNDARY
	callers  *auth.Authenticator

	indexesUncounted atomic.Bool // and the log says so
}

// NewAdmin returns a server whose indexes are those of store, and whose users are the events of one of its boundaries.
// callers is the authenticator of the server that calls it.
func NewAdmin(store *EventStore, boundary string, callers *auth.Authenticator) *Admin {
	return &Admin{store: store, boundary: boundary, callers: callers}
}

// CreateIndex is EventStore.CreateIndex.
func (a *Admin) CreateIndex(
	ctx context.Context, in *orisunpb.CreateIndexRequest,
) (*orisunpb.CreateIndexResponse, error) {
	return a.store.CreateIndex(ctx, in)
}

// DropIndex is EventStore.DropIndex.
func (a *Admin) DropIndex(ctx context.Context, in *orisunpb.DropIndexRequest) (*orisunpb.DropIndexResponse, error) {
	return a.store.DropIndex(ctx, in)
}
