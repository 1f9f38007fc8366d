package service

import (
	"context"
	"sync"

	"google.golang.org/grpc/peer"

	"github.com/oexza/orisun/service/auth"
)

// namedSubscriptions are those of this node. A subscription replaces an older one with the same name, connection and
// user: a client that forgot to cancel its stream does not wait for itself. It takes over the older one's lease, so
// that no standby gets the name.
type namedSubscriptions struct {
	mu     sync.Mutex
	latest map[subscriberKey]*namedSubscription
}

type subscriberKey struct{ boundary, name, connection, userID string }

func subscriberOf(ctx context.Context, boundary, name string) subscriberKey {
	key := subscriberKey{boundary: boundary, name: name}
	if from, ok := peer.FromContext(ctx); ok {
		key.connection = from.Addr.String()
	}
	if caller, ok := auth.FromContext(ctx); ok {
		key.userID = caller.UserID
	}
	return key
}

// namedSubscription is active while it has a lease; before that it is a standby.
type namedSubscription struct {
	end   context.CancelCauseFunc
	lease *subscriberLease // guarded by the mutex of namedSubscriptions
}

type subscriberLease struct {
	held    context.Context
	release func()
}

// enter replaces the older subscription under this key, and returns that one's lease.
func (n *namedSubscriptions) enter(
	key subscriberKey, end context.CancelCauseFunc,
) (*namedSubscription, *subscriberLease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	entered := &namedSubscription{end: end}
	if older := n.latest[key]; older != nil {
		if older.lease != nil && older.lease.held.Err() == nil {
			entered.lease, older.lease = older.lease, nil
		}
		older.end(errReplaced)
	}
	if n.latest == nil {
		n.latest = map[subscriberKey]*namedSubscription{}
	}
	n.latest[key] = entered
	return entered, entered.lease
}

// activate gives a subscription its lease, unless a later one has replaced it meanwhile.
func (n *namedSubscriptions) activate(key subscriberKey, subscription *namedSubscription, lease *subscriberLease) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.latest[key] != subscription {
		return false
	}
	subscription.lease = lease
	return true
}

// leave releases the subscription's lease, unless a later one took it over.
func (n *namedSubscriptions) leave(key subscriberKey, subscription *namedSubscription) {
	n.mu.Lock()
	lease := subscription.lease
	if n.latest[key] == subscription {
		delete(n.latest, key)
	}
	n.mu.Unlock()
	if lease != nil {
		lease.release()
	}
}
