package service

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// Cluster reads from all nodes of the cluster. It waits for a bounded time, and returns the names of the nodes that did
// not answer in it.
type Cluster interface {
	// Nodes returns what each node reports of itself.
	Nodes(ctx context.Context, in *orisunpb.ListNodesRequest) *orisunpb.ListNodesResponse
	// OtherSubscribers returns what OwnSubscribers of the other nodes returns, and the disconnected nodes.
	OtherSubscribers(ctx context.Context, in *orisunpb.ListSubscribersRequest) (
		others []*orisunpb.ListSubscribersResponse, unanswered []string, disconnected []*orisunpb.DisconnectedNode)
	// OtherConflicts returns what OwnConflicts of the other nodes returns, and the disconnected nodes.
	OtherConflicts(ctx context.Context, in *orisunpb.ListConflictsRequest) (
		others []*orisunpb.ListConflictsResponse, unanswered []string, disconnected []*orisunpb.DisconnectedNode)
}

// ListNodes returns what each node of the cluster reports of itself. Errors: those of every call.
func (a *Admin) ListNodes(ctx context.Context, in *orisunpb.ListNodesRequest) (*orisunpb.ListNodesResponse, error) {
	if a.store.config.Cluster == nil {
		return nil, status.Error(codes.Unimplemented, "this server reports nothing of its nodes")
	}
	return a.store.config.Cluster.Nodes(ctx, in), nil
}
