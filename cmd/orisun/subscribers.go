package main

import (
	"context"

	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/service"
)

// acquireSubscriber makes the names of subscribers exclusive by this node's leases.
func acquireSubscriber(leases *publisher.Leases) service.AcquireSubscriber {
	return func(ctx context.Context, boundary, name string, user service.SubscriberUser) (context.Context, func(), error) {
		owner := publisher.Owner{User: user.ID, MayTakeAny: user.MayTakeAny}
		lease, err := leases.AcquireFor(ctx, boundary, "subscriber/"+name, owner)
		if err != nil {
			return nil, nil, err
		}
		return lease.Context(), lease.Release, nil
	}
}
