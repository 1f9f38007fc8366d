package service

import (
	"context"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// DeleteBoundary deletes a boundary with all of its events, tables and indexes; its PostgreSQL schema stays. Every node
// stops publishing it within a second, ends its subscriptions and deletes its stream. The admin boundary's log gets
// BoundaryDeleted. A boundary whose tables are already gone is removed from the registry.
//
// Errors: INVALID_ARGUMENT with field paths, also if confirm_name is not the name; NOT_FOUND; FAILED_PRECONDITION for
// the admin boundary, for one that the configuration would create again (BOUNDARY_CONFIGURED), and while an index of it
// is made or dropped; UNAVAILABLE.
func (a *Admin) DeleteBoundary(
	ctx context.Context, in *orisunpb.DeleteBoundaryRequest,
) (*orisunpb.DeleteBoundaryResponse, error) {
	var v violations
	v.text("name", in.GetName(), 1, maxBoundaryBytes)
	if in.GetConfirmName() == "" || in.GetConfirmName() != in.GetName() {
		v.add("confirm_name", "is %q, and must be the name of the boundary again: its events cannot be brought back",
			in.GetConfirmName())
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	config := a.store.config
	if in.GetName() != a.boundary && config.Configured != nil && config.Configured(in.GetName()) {
		return nil, withDetails(codes.FailedPrecondition,
			"ORISUN_BOUNDARIES or ORISUN_PG_SCHEMAS names the boundary, so the next start would create it again: "+
				"remove it from the configuration of all nodes, restart them, then delete it",
			&errdetails.ErrorInfo{
				Reason: reasonBoundaryConfigured, Domain: domain, Metadata: map[string]string{"boundary": in.GetName()},
			})
	}
	caller, _ := auth.FromContext(ctx)
	events, err := a.store.queries.DeleteBoundary(ctx, config.Write, db.DeleteBoundaryParams{
		Boundary: in.GetName(), AdminBoundary: a.boundary, Actor: caller.Username,
	})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	if config.Saved != nil {
		config.Saved(a.boundary)
	}
	if config.BoundaryDeleted != nil {
		config.BoundaryDeleted(in.GetName())
	}
	return &orisunpb.DeleteBoundaryResponse{Events: events}, nil
}
