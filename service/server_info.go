package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// Ping returns an empty answer.
func (s *EventStore) Ping(context.Context, *orisunpb.PingRequest) (*orisunpb.PingResponse, error) {
	return &orisunpb.PingResponse{}, nil
}

// GetServerInfo returns the server's version and features.
func (s *EventStore) GetServerInfo(
	context.Context, *orisunpb.GetServerInfoRequest,
) (*orisunpb.GetServerInfoResponse, error) {
	return s.config.Info, nil
}
