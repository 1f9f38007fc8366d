package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

// Ping answers.
func (s *EventStore) Ping(context.Context, *orisunpb.PingRequest) (*orisunpb.PingResponse, error) {
	return &orisunpb.PingResponse{}, nil
}

// GetServerInfo says what is running and what it can do.
func (s *EventStore) GetServerInfo(context.Context, *orisunpb.GetServerInfoRequest) (*orisunpb.GetServerInfoResponse, error) {
	return s.config.Info, nil
}
