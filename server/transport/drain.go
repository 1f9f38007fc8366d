package transport

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
	// StreamGrace is how long streams may take to end when the server drains. A stream whose client reads takes a
	// round trip. A stream whose client does not read, or that watches the health, would never end.
	StreamGrace = 2 * time.Second
	// drainPoll is how often draining checks whether the last call has finished. Two checks without a call in flight
	// mean that the last answer was sent.
	drainPoll = 100 * time.Millisecond
)

// Server is a gRPC server that counts its calls and streams in flight.
type Server struct {
	*grpc.Server
	calls       *calls
	connections *connections
	ends        *callLog
	log         *slog.Logger
}

// Serve serves a listener until the server ends.
func (s *Server) Serve(listener net.Listener) error {
	err := s.Server.Serve(s.connections.on(listener))
	if errors.Is(err, grpc.ErrServerStopped) { // it was stopped before it began
		return nil
	}
	return err
}

// Open is how many calls and streams are in flight.
func (s *Server) Open() (calls, streams int64) {
	return s.calls.inFlight.Load(), s.calls.streams.Load()
}

// Draining is notified before the server drains, so that the log has the reason why calls end.
func (s *Server) Draining() { s.ends.draining.Store(true) }

// calls counts unary calls in flight, and streams, those by HTTP included.
type calls struct{ inFlight, streams atomic.Int64 }

func (c *calls) countStream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	c.streams.Add(1)
	defer c.streams.Add(-1)
	return handler(service, stream)
}

func (c *calls) count(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	return handler(ctx, request)
}

// Drain lets calls in flight finish, and cuts them when ctx ends. Streams have less time: after StreamGrace they are
// cut as soon as no call is left that the end of a connection would harm.
func (s *Server) Drain(ctx context.Context) error {
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

func (s *Server) cutStreams(ctx context.Context) {
	grace := time.NewTimer(StreamGrace)
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
