package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

const (
	// streamGrace is how long streams may take to end when the server drains. One whose client reads takes a round trip; one whose client does
	// not, or that watches the health, would never end.
	streamGrace = 2 * time.Second
	// drainPoll is how often draining looks whether the last call has finished. Who sees none twice knows that the last answer has gone out.
	drainPoll = 100 * time.Millisecond
)

// grpcServer is a gRPC server that knows how many calls and streams are in flight.
type grpcServer struct {
	*grpc.Server
	calls       *calls
	connections *connections
	ends        *callLog
	log         *slog.Logger
}

// Serve serves a listener until the server ends.
func (s *grpcServer) Serve(listener net.Listener) error {
	err := s.Server.Serve(s.connections.on(listener))
	if errors.Is(err, grpc.ErrServerStopped) { // it was to end before it began
		return nil
	}
	return err
}

// calls counts unary calls in flight, and streams. Those by HTTP are among them.
type calls struct{ inFlight, streams atomic.Int64 }

func (c *calls) countStream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c.streams.Add(1)
	defer c.streams.Add(-1)
	return handler(service, stream)
}

func (c *calls) count(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	return handler(ctx, request)
}

// drain lets calls in flight finish, and cuts them when ctx ends. Streams have less time: after streamGrace they are cut as soon as no call is left that a
// connection's end would harm.
func (s *grpcServer) drain(ctx context.Context) error {
	keep := context.AfterFunc(ctx, s.Stop)
	draining, drained := context.WithCancel(ctx)
	var cutting sync.WaitGroup
	cutting.Go(func() { s.cutStreams(draining) })
	s.GracefulStop()
	drained()
	cutting.Wait()
	if !keep() {
		return fmt.Errorf("calls in flight were cut: %w", context.Cause(ctx))
	}
	return nil
}

func (s *grpcServer) cutStreams(ctx context.Context) {
	grace := time.NewTimer(streamGrace)
	defer grace.Stop()
	select {
	case <-ctx.Done():
		return
	case <-grace.C:
	}
	s.log.Info("streams are still open; they are cut when no call is in flight", "in_flight", s.calls.inFlight.Load())
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for quiet := 0; quiet < 2; quiet++ {
		if s.calls.inFlight.Load() > 0 {
			quiet = -1
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
	s.Stop()
}
