package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// EndUserSessions voids all tokens of a user. When it answers, no node accepts one.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown user, UNAVAILABLE.
func (a *Admin) EndUserSessions(
	ctx context.Context, in *orisunpb.EndUserSessionsRequest,
) (*orisunpb.EndUserSessionsResponse, error) {
	var v violations
	v.text("user_id", in.GetUserId(), 1, maxNameBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	var user db.OrisunUserAccount
	err := a.changeUser(ctx, func(ctx context.Context) (err error) {
		user, err = a.store.queries.EndUserSessions(ctx, a.store.config.Write, db.EndUserSessionsParams{
			Boundary: a.boundary, UserID: in.GetUserId(), Metadata: actor(ctx),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	a.store.logChange(ctx, "sessions ended", "user", user.Username, "user_id", user.UserID)
	if err := a.callers.Settle(ctx); err != nil {
		return nil, err
	}
	return &orisunpb.EndUserSessionsResponse{}, nil
}
