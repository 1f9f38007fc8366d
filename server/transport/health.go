package transport

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// lastWatch is how long a client that watches the server's health has to receive its end. A stream that stays open
// would delay the drain.
const lastWatch = 200 * time.Millisecond

// maxHealthName is the longest name of a service in a health check, in bytes: the health service stores it for each
// watch.
const maxHealthName = 256

// Health is gRPC's health service. When the server drains, its watchers receive NOT_SERVING, and their streams end.
type Health struct {
	*health.Server

	draining chan struct{}
	once     sync.Once
}

// NewHealth returns a health service that reports SERVING.
func NewHealth() *Health {
	h := &Health{Server: health.NewServer(), draining: make(chan struct{})}
	h.SetServing(true)
	return h
}

// SetServing reports the server, and each of its services, as serving or not. Clients may query either.
func (h *Health) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, service := range []string{
		"", orisunpb.EventStore_ServiceDesc.ServiceName, orisunpb.Admin_ServiceDesc.ServiceName,
		orisunpb.Subscriptions_ServiceDesc.ServiceName,
	} {
		h.SetServingStatus(service, status)
	}
}

// Shutdown reports NOT_SERVING from now on, and ends the watchers' streams after lastWatch.
func (h *Health) Shutdown() {
	h.once.Do(func() {
		h.Server.Shutdown()
		time.AfterFunc(lastWatch, func() { close(h.draining) })
	})
}

// Check implements the health service.
func (h *Health) Check(ctx context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := checkHealthName(in); err != nil {
		return nil, err
	}
	return h.Server.Check(ctx, in)
}

func checkHealthName(in *healthpb.HealthCheckRequest) error {
	if n := len(in.GetService()); n > maxHealthName {
		return status.Errorf(codes.InvalidArgument, "service: has %d bytes, at most %d are allowed", n, maxHealthName)
	}
	return nil
}

// Watch implements the health service.
func (h *Health) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if err := checkHealthName(in); err != nil {
		return err
	}
	ctx, end := context.WithCancel(stream.Context())
	defer end()
	go func() {
		select {
		case <-h.draining:
			end()
		case <-ctx.Done():
		}
	}()
	return h.Server.Watch(in, &watch{stream, ctx})
}

type watch struct {
	grpc.ServerStreamingServer[healthpb.HealthCheckResponse]
	ctx context.Context
}

func (w *watch) Context() context.Context { return w.ctx }
