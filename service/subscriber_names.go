package service

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/service/auth"
)

// SubscriberUser is the user to whom a subscriber_name belongs as long as it is used.
type SubscriberUser struct {
	ID string
	// MayTakeAny lets an admin of the boundary use the names of other users, too.
	MayTakeAny bool
}

func subscriberUser(ctx context.Context, boundary string) SubscriberUser {
	caller, _ := auth.FromContext(ctx)
	return SubscriberUser{ID: caller.UserID, MayTakeAny: caller.Administers(boundary)}
}

// subscriberNames counts the open subscriptions with a name by user: each of them is a row in PostgreSQL.
type subscriberNames struct {
	limit int

	mu   sync.Mutex
	open map[string]int
}

func (n *subscriberNames) enter(user SubscriberUser) (leave func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if open := n.open[user.ID]; n.limit > 0 && open >= n.limit {
		return nil, retryLater(codes.ResourceExhausted, fmt.Sprintf(
			"this user has %d subscriptions with a subscriber_name open on this node, no more are taken "+
				"(ORISUN_GRPC_MAX_SUBSCRIBER_NAMES): end some, or subscribe without a name", open), nil)
	}
	n.open[user.ID]++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.open[user.ID]--; n.open[user.ID] == 0 {
			delete(n.open, user.ID)
		}
	}, nil
}
