package service

import (
	"google.golang.org/grpc"

	orisunpb "github.com/oexza/orisun/proto"
)

// ReadSubscription is Consume for clients that cannot stream requests: they settle events by Settle. Errors: as
// Consume.
func (s *Subscriptions) ReadSubscription(
	in *orisunpb.ReadSubscriptionRequest, stream grpc.ServerStreamingServer[orisunpb.ConsumeResponse],
) error {
	return s.consume(&orisunpb.ConsumeStart{
		Boundary: in.GetBoundary(), Subscription: in.GetSubscription(), Window: in.GetWindow(),
		ConsumerName: in.GetConsumerName(),
	}, stream, nil)
}
