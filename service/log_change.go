package service

import (
	"context"

	"google.golang.org/grpc/peer"

	"github.com/oexza/orisun/service/auth"
)

// logChange logs that a caller changed users, boundaries or indexes: the caller, its address, the change and its
// subject.
func (s *EventStore) logChange(ctx context.Context, change string, subject ...any) {
	caller, _ := auth.FromContext(ctx)
	attributes := append([]any{"actor", caller.Username}, subject...)
	if from, known := peer.FromContext(ctx); known {
		attributes = append(attributes, "peer", from.Addr.String())
	}
	s.config.Log.InfoContext(ctx, change, attributes...)
}
