package service

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// GetIndex returns one index's definition and state. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an
// unknown boundary or index, UNAVAILABLE.
func (s *EventStore) GetIndex(ctx context.Context, in *orisunpb.GetIndexRequest) (*orisunpb.GetIndexResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	v.text("name", in.GetName(), 1, maxIdentifierBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	rows, err := s.listIndexes(ctx, in.GetBoundary())
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Name == in.GetName() {
			return &orisunpb.GetIndexResponse{Index: indexDefinition(row)}, nil
		}
	}
	return nil, status.Error(codes.NotFound,
		fmt.Sprintf("boundary %q has no index %q; ListIndexes returns those it has", in.GetBoundary(), in.GetName()))
}
