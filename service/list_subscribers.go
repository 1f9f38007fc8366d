package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	defaultSubscribers = 100
	maxSubscribers     = 500
)

// ListSubscribers lists the open subscriptions of a boundary on all nodes.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, UNAVAILABLE.
func (a *Admin) ListSubscribers(ctx context.Context,
	in *orisunpb.ListSubscribersRequest,
) (*orisunpb.ListSubscribersResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	count := v.bounded("count", in.GetCount(), defaultSubscribers, maxSubscribers)
	if err := v.err(); err != nil {
		return nil, err
	}
	in = &orisunpb.ListSubscribersRequest{Boundary: in.GetBoundary(), Count: uint32(count)}
	own := a.store.OwnSubscribers(in)
	if a.store.config.Cluster != nil {
		others, unanswered, disconnected := a.store.config.Cluster.OtherSubscribers(ctx, in)
		for _, other := range others {
			own.Subscribers = append(own.Subscribers, other.GetSubscribers()...)
			own.Total += other.GetTotal()
		}
		own.Unanswered, own.Disconnected = unanswered, disconnected
		furthestBehind(own, count)
	}
	last, err := a.store.lastPosition(ctx, in.GetBoundary()) // of a boundary that does not exist
	if err != nil {
		return nil, err
	}
	for _, s := range own.GetSubscribers() {
		s.Behind = max(last.GlobalID-s.GetGlobalId(), 0)
	}
	return own, nil
}

// OwnSubscribers lists the open subscriptions of a boundary on this node, as many as the request says. How far they are
// behind is left to the node that answers the call.
func (s *EventStore) OwnSubscribers(in *orisunpb.ListSubscribersRequest) *orisunpb.ListSubscribersResponse {
	return s.live.list(in.GetBoundary(), int(in.GetCount()))
}
