package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// Settle settles events that ReadSubscription delivered on this node.
//
// Errors: INVALID_ARGUMENT for a request that breaks a rule; NOT_FOUND if the node has no such consumer of the user;
// FAILED_PRECONDITION if the consumer no longer holds a partition with that epoch.
func (s *Subscriptions) Settle(ctx context.Context, in *orisunpb.SettleRequest) (*orisunpb.SettleResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	v.text("consumer_id", in.GetConsumerId(), 1, maxNameBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	m := s.config.Consumers.Find(in.GetConsumerId())
	if m == nil || m.Boundary() != in.GetBoundary() || m.Client.UserID != subscriberUser(ctx, in.GetBoundary()).ID {
		return nil, status.Error(codes.NotFound,
			"consumer_id: this node has no such consumer; call the node of its ReadSubscription while that lasts")
	}
	stale, err := settle(m, in)
	if err == nil && stale {
		err = status.Error(codes.FailedPrecondition,
			"the consumer no longer holds one of the partitions in that epoch: its events are delivered again; the other "+
				"settlements hold")
	}
	return &orisunpb.SettleResponse{}, err
}
