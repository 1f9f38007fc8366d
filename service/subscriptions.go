package service

import (
	orisunpb "github.com/oexza/orisun/proto"
)

// Subscriptions serves orisun.Subscriptions. Its methods are safe for concurrent use.
type Subscriptions struct {
	orisunpb.UnimplementedSubscriptionsServer

	store         *EventStore
	adminBoundary string
}

// NewSubscriptions returns a server of the subscriptions of store's boundaries. The events of adminBoundary record
// their creation, deletion and reset.
func NewSubscriptions(store *EventStore, adminBoundary string) *Subscriptions {
	return &Subscriptions{store: store, adminBoundary: adminBoundary}
}
