package service

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/consumer"
	"github.com/oexza/orisun/service/inflight"
)

// ListParked lists parked events. Errors: INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED as for GetEvents,
// UNAVAILABLE.
func (s *Subscriptions) ListParked(
	ctx context.Context, in *orisunpb.ListParkedRequest,
) (*orisunpb.ListParkedResponse, error) {
	var v violations
	v.named(in.GetBoundary(), "subscription", in.GetSubscription())
	count := v.bounded("count", in.GetCount(), defaultParkedPage, maxParkedPage)
	if err := v.err(); err != nil {
		return nil, err
	}
	after := int64(-1)
	if in.GetAfterPosition() != nil {
		after = in.GetAfterPosition().GetGlobalId()
	}
	rows, err := reading(ctx, s.store, in.GetBoundary(), func(tx db.DBTX) ([]db.ListParkedRow, error) {
		return s.store.queries.ListParked(ctx, tx, db.ListParkedParams{
			Boundary: in.GetBoundary(), Subscription: in.GetSubscription(), Partition: -1, After: after, Count: int32(count),
		})
	})
	if err != nil {
		return nil, err
	}
	out := &orisunpb.ListParkedResponse{}
	for _, row := range rows {
		out.Events = append(out.Events, &orisunpb.ParkedEvent{
			Event:     consumer.ParkedEvent(row),
			Partition: uint32(row.Partition), Key: row.Key, Reason: row.Reason, Refusals: uint32(row.Refusals),
			ParkedAt: timestamppb.New(row.ParkedAt), Replaying: row.Replaying,
		})
	}
	if size := proto.Size(out); size > s.store.config.MaxPageBytes {
		return nil, pageTooLarge(s.store.config.MaxPageBytes, "ask for a smaller count")
	}
	return out, inflight.FromContext(ctx).Grow(proto.Size(out))
}
