// Package transport connects the network to the services: gRPC servers, TLS, limits, the log of calls and their
// drain.
package transport

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/telemetry"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/inflight"
)

// leastPingInterval is how often a client may ping a connection before it is taken for an attack and cut.
const leastPingInterval = 5 * time.Second

const (
	// streamWindow is how much of an unread message gRPC receives: the smallest window that it allows. It grows for a
	// message that is read.
	streamWindow = 64 << 10
	// connectionWindow is how many unread bytes a connection may have in flight.
	connectionWindow = 4 << 20
	// MaxHeaderBytes is how long the headers of a call may be in all, by gRPC or HTTP.
	MaxHeaderBytes = 16 << 10
)

// callWorkers is how many goroutines wait for calls. Growing the stack of a new one takes a tenth of a short call.
const callWorkers = 32

// Servers are two gRPC servers with the same services: one listens, the other receives the calls by HTTP. gRPC cannot
// drain a server that does both.
type Servers struct {
	Listening *Server
	OverHTTP  *grpc.Server
	Door      *Door
}

// Services are what the servers serve.
type Services struct {
	Store         orisunpb.EventStoreServer
	Admin         orisunpb.AdminServer
	Subscriptions orisunpb.SubscriptionsServer
	Health        healthpb.HealthServer
}

// New builds the servers with all their layers: limits, keep-alive, telemetry, log, recovery, credentials.
func New(
	config config.GRPC, services Services, authenticator *auth.Authenticator, observed *telemetry.CallObserver,
	log *slog.Logger,
) (*Servers, error) {
	var unary calls
	ends := newCallLog(log)
	budget := inflight.NewBudget(int64(config.MaxBytesInFlight), "ORISUN_GRPC_MAX_BYTES_IN_FLIGHT")
	door := &Door{
		auth: authenticator, budget: budget,
		connections: &connections{budget: budget, maxCalls: int64(config.MaxConcurrentCalls)},
		openCalls:   &openCalls{by: make(map[string]int)}, maxRequest: config.MaxReceiveMessageSize,
		unary: chainUnary(observed.Unary, unary.count, ends.unary, recovery.UnaryServerInterceptor(recoverPanic(log))),
		stream: chainStream(observed.Stream, unary.countStream, ends.stream,
			recovery.StreamServerInterceptor(recoverPanic(log)), authenticator.StreamInterceptor),
	}
	options := []grpc.ServerOption{
		// Reused goroutines have the stack that a call needs. Beyond their number each call gets a new one.
		grpc.NumStreamWorkers(callWorkers),
		grpc.ConnectionTimeout(config.ConnectionTimeout),
		grpc.MaxConcurrentStreams(config.MaxConcurrentStreams),
		grpc.MaxRecvMsgSize(config.MaxReceiveMessageSize),
		grpc.MaxSendMsgSize(config.MaxSendMessageSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: config.KeepAliveTime, Timeout: config.KeepAliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPingInterval, PermitWithoutStream: true}),
		grpc.InTapHandle(ends.tap(authenticator.Tap)),
		grpc.StreamInterceptor(door.interceptStream),
		grpc.ForceServerCodecV2(newAnswerCodec()),
		// Windows that grow by themselves would let a client send 16 MB of each unread message.
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxHeaderListSize(MaxHeaderBytes),
	}
	if config.TLSEnabled {
		secured, err := NewCredentials(config, log)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(secured))
	}
	servers := &Servers{
		&Server{grpc.NewServer(options...), &unary, door.connections, ends, log}, grpc.NewServer(options...), door,
	}
	for _, server := range []*grpc.Server{servers.Listening.Server, servers.OverHTTP} {
		behind := doorway{server, door}
		orisunpb.RegisterEventStoreServer(behind, services.Store)
		orisunpb.RegisterAdminServer(behind, services.Admin)
		orisunpb.RegisterSubscriptionsServer(behind, services.Subscriptions)
		healthpb.RegisterHealthServer(behind, services.Health)
		if config.EnableReflection {
			reflection.Register(behind)
		}
	}
	return servers, nil
}

// chainUnary combines interceptors into one, the first of them outermost.
func chainUnary(all ...grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for _, interceptor := range slices.Backward(all) {
			inner := handler
			handler = func(ctx context.Context, request any) (any, error) { return interceptor(ctx, request, info, inner) }
		}
		return handler(ctx, request)
	}
}

// chainStream is chainUnary for streams.
func chainStream(all ...grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for _, interceptor := range slices.Backward(all) {
			inner := handler
			handler = func(service any, stream grpc.ServerStream) error { return interceptor(service, stream, info, inner) }
		}
		return handler(service, stream)
	}
}
