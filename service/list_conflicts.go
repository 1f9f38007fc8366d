package service

import (
	"cmp"
	"context"
	"slices"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	defaultConflicts = 20
	maxConflicts     = 100
)

// ListConflicts lists the contexts with the most conflicts of the last hour on all nodes.
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
	// The most contested context of all nodes may be far down on each.
	in = &orisunpb.ListConflictsRequest{Boundary: in.GetBoundary(), Count: maxConflictContexts}
	all := a.store.OwnConflicts(in)
	if a.store.config.Cluster != nil {
		others, unanswered, disconnected := a.store.config.Cluster.OtherConflicts(ctx, in)
		for _, other := range others {
			addConflicts(all, other)
		}
		all.Unanswered, all.Disconnected = unanswered, disconnected
		slices.SortFunc(all.Nodes, func(a, b *orisunpb.NodeConflicts) int { return cmp.Compare(a.GetName(), b.GetName()) })
	}
	mostContested(all, count)
	return all, nil
}

// OwnConflicts lists the contexts with the most conflicts of a boundary on this node, as many as the request says.
func (s *EventStore) OwnConflicts(in *orisunpb.ListConflictsRequest) *orisunpb.ListConflictsResponse {
	own := &orisunpb.ListConflictsResponse{Node: s.config.Info.GetNodeId()}
	s.conflicts.list(in.GetBoundary(), int(in.GetCount()), own)
	own.Nodes = []*orisunpb.NodeConflicts{{Name: own.GetNode(), Total: own.GetTotal(), Since: own.GetSince()}}
	return own
}
