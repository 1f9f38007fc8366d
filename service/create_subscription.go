package service

import (
	"context"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// CreateSubscription creates a subscription. The same definition again is a success.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, ALREADY_EXISTS for a name with another
// definition, RESOURCE_EXHAUSTED beyond ORISUN_MAX_SUBSCRIPTIONS, UNAVAILABLE.
func (s *Subscriptions) CreateSubscription(
	ctx context.Context, in *orisunpb.CreateSubscriptionRequest,
) (*orisunpb.CreateSubscriptionResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "name", in.GetName())
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	v.start(in.GetStart())
	v.text("partition_key", in.GetPartitionKey(), 0, maxNameBytes)
	partitions := v.bounded("partitions", in.GetPartitions(), defaultPartitions, maxPartitions)
	if in.GetPartitionKey() == "" {
		if in.GetPartitions() > 1 {
			v.add("partitions", "is %d: without a partition_key there is one", in.GetPartitions())
		}
		if in.GetParkFollowing() {
			v.add("park_following", "needs a partition_key")
		}
		partitions = 1
	}
	ackTimeout := v.duration("ack_timeout", in.GetAckTimeout(), defaultAckTimeout, minAckTimeout, maxAckTimeout)
	refusals := v.bounded("max_refusals", in.GetMaxRefusals(), defaultRefusals, maxRefusals)
	if err := v.err(); err != nil {
		return nil, err
	}
	criteria, err := storeCriteria(in.GetQuery().GetCriteria())
	if err != nil {
		return nil, internal(err)
	}
	start, err := s.startPosition(ctx, in.GetBoundary(), in.GetStart())
	if err != nil {
		return nil, err
	}
	err = s.store.queries.CreateSubscription(ctx, s.store.config.Write, db.CreateSubscriptionParams{
		Boundary: in.GetBoundary(), Name: in.GetName(), Criteria: criteria, PartitionKey: in.GetPartitionKey(),
		Partitions:   int32(partitions),
		AckTimeoutMs: ackTimeout.Milliseconds(), MaxRefusals: int32(refusals), ParkFollowing: in.GetParkFollowing(),
		TransactionID: start.GetTransactionId(), GlobalID: start.GetGlobalId(),
		SubscriptionLimit: int32(s.config.Limit), AdminBoundary: s.config.AdminBoundary, Actor: actorOf(ctx),
	})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	s.changed(ctx, "subscription created", in.GetBoundary(), in.GetName())
	subscription, err := s.readOne(ctx, in.GetBoundary(), in.GetName())
	return &orisunpb.CreateSubscriptionResponse{Subscription: subscription}, err
}
