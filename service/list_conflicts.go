package service

import (
	"context"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	defaultConflicts = 20
	maxConflicts     = 100
)

// ListConflicts lists the contexts with the most conflicts of the last hour, as this node counted them.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, UNAVAILABLE.
func (a *Admin) ListConflicts(ctx context.Context,
	in *orisunpb.ListConflictsRequest,
) (*orisunpb.ListConflictsResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	count := v.bounded("count", in.GetCount(), defaultConflicts, maxConflicts)
	if err := v.err(); err != nil {
		return nil, err
	}
	if _, err := a.store.lastPosition(ctx, in.GetBoundary()); err != nil { // of a boundary that does not exist
		return nil, err
	}
	answer := &orisunpb.ListConflictsResponse{Node: a.store.config.Info.GetNodeId()}
	a.store.conflicts.list(in.GetBoundary(), count, answer)
	return answer, nil
}
