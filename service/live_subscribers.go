package service

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// liveSubscribers are the open streams of CatchUpSubscribeToEvents on this node.
type liveSubscribers struct {
	mu   sync.Mutex
	open map[*liveSubscriber]struct{}
}

// liveSubscriber is one of them. Its stream writes looked and standby, and others read them at any time.
type liveSubscriber struct {
	boundary string
	row      *orisunpb.LiveSubscriber // what does not change
	looked   atomic.Int64             // the global_id up to which the stream has what it wants
	standby  atomic.Bool
}

func (l *liveSubscribers) enter(ctx context.Context, node string, after *orisunpb.Position,
	in *orisunpb.CatchUpSubscribeToEventStoreRequest,
) (s *liveSubscriber, leave func()) {
	caller, _ := auth.FromContext(ctx)
	s = &liveSubscriber{boundary: in.GetBoundary(), row: &orisunpb.LiveSubscriber{
		Node: node, SubscriberName: in.GetSubscriberName(), Username: caller.Username,
		ConnectedAt: timestamppb.New(time.Now()), Filtered: len(in.GetQuery().GetCriteria()) > 0,
	}}
	if from, ok := peer.FromContext(ctx); ok {
		s.row.Address = from.Addr.String()
	}
	s.looked.Store(max(after.GetGlobalId(), -1))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[*liveSubscriber]struct{})
	}
	l.open[s] = struct{}{}
	return s, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, s)
	}
}

// list returns those of a boundary, count at most.
func (l *liveSubscribers) list(boundary string, count int) *orisunpb.ListSubscribersResponse {
	answer := &orisunpb.ListSubscribersResponse{}
	l.mu.Lock()
	for s := range l.open {
		if s.boundary == boundary {
			answer.Subscribers = append(answer.Subscribers, &orisunpb.LiveSubscriber{
				Node: s.row.Node, SubscriberName: s.row.SubscriberName, Username: s.row.Username, Address: s.row.Address,
				ConnectedAt: s.row.ConnectedAt, Filtered: s.row.Filtered, Standby: s.standby.Load(), GlobalId: s.looked.Load(),
			})
		}
	}
	l.mu.Unlock()
	answer.Total = int64(len(answer.Subscribers))
	furthestBehind(answer, count)
	return answer
}

// furthestBehind sorts subscribers, those furthest behind first, and cuts the rest.
func furthestBehind(answer *orisunpb.ListSubscribersResponse, count int) {
	slices.SortFunc(answer.Subscribers, func(a, b *orisunpb.LiveSubscriber) int {
		return cmp.Or(cmp.Compare(a.GetGlobalId(), b.GetGlobalId()),
			a.GetConnectedAt().AsTime().Compare(b.GetConnectedAt().AsTime()))
	})
	answer.Subscribers = answer.Subscribers[:min(count, len(answer.Subscribers))]
}
