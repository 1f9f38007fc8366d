package server

import (
	"context"
	"sync"

	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/service"
)

// acquireSubscriber makes the names of subscribers exclusive by this node's leases.
func acquireSubscriber(leases *publisher.Leases) service.AcquireSubscriber {
	return func(ctx context.Context, boundary, name string, user service.SubscriberUser,
		standby func() error,
	) (context.Context, func(), error) {
		owner := publisher.Owner{User: user.ID, MayTakeAny: user.MayTakeAny}
		ctx, end := context.WithCancelCause(ctx)
		defer end(nil)
		notify := sync.OnceFunc(func() {
			if err := standby(); err != nil {
				end(err)
			}
		})
		lease, err := leases.AcquireFor(ctx, boundary, "subscriber/"+name, owner, notify)
		if err != nil {
			return nil, nil, err
		}
		return lease.Context(), lease.Release, nil
	}
}
