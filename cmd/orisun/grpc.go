package main

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
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/inflight"
)

// leastPingInterval is how often a client may ping a connection before it is taken for an attack and cut.
const leastPingInterval = 5 * time.Second

const (
	// streamWindow is how much of a message gRPC receives before it is read: the least that it takes. It grows for a message that is read.
	streamWindow = 64 << 10
	// connectionWindow is how much is under way on a connection.
	connectionWindow = 4 << 20
	// maxHeaderBytes is how long the headers of a call may be in all, by gRPC or HTTP.
	maxHeaderBytes = 16 << 10
)

// callWorkers is how many goroutines wait for calls: to grow the stack of a new one takes a tenth of a short call.
const callWorkers = 32

// grpcServers are two doors to the same services: one listens, through the other come calls by HTTP. gRPC cannot drain a server that does both.
type grpcServers struct {
	listening *grpcServer
	overHTTP  *grpc.Server
	door      *door
}

// newGRPCServers builds them with everything that stands before the services: limits, keep-alive, telemetry, log, recovery, credentials.
func newGRPCServers(config *config.Config, store *service.EventStore, callers *callers, observed *callObserver, healthy healthpb.HealthServer, log *slog.Logger) (*grpcServers, error) {
	var unary calls
	ends := newCallLog(log)
	budget := inflight.NewBudget(int64(config.GRPC.MaxBytesInFlight), "ORISUN_GRPC_MAX_BYTES_IN_FLIGHT")
	door := &door{
		auth: callers.auth, budget: budget, connections: &connections{budget: budget, maxCalls: int64(config.GRPC.MaxConcurrentCalls)},
		openCalls: &openCalls{by: make(map[string]int)}, maxRequest: config.GRPC.MaxReceiveMessageSize,
		unary:  chainUnary(observed.unary, unary.count, ends.unary, recovery.UnaryServerInterceptor(recoverPanic(log))),
		stream: chainStream(observed.stream, unary.countStream, ends.stream, recovery.StreamServerInterceptor(recoverPanic(log)), callers.auth.StreamInterceptor),
	}
	options := []grpc.ServerOption{
		// Goroutines that are used again have the stack that a call needs; beyond their number each call gets a new one.
		grpc.NumStreamWorkers(callWorkers),
		grpc.ConnectionTimeout(config.GRPC.ConnectionTimeout),
		grpc.MaxConcurrentStreams(config.GRPC.MaxConcurrentStreams),
		grpc.MaxRecvMsgSize(config.GRPC.MaxReceiveMessageSize),
		grpc.MaxSendMsgSize(config.GRPC.MaxSendMessageSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: config.GRPC.KeepAliveTime, Timeout: config.GRPC.KeepAliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPingInterval, PermitWithoutStream: true}),
		grpc.InTapHandle(ends.tap(callers.auth.Tap)),
		grpc.StreamInterceptor(door.interceptStream),
		grpc.ForceServerCodecV2(newAnswerCodec()),
		// Windows that grow by themselves would let a client send 16 MB of each message that is not read yet.
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxHeaderListSize(maxHeaderBytes),
	}
	if config.GRPC.TLSEnabled {
		secured, err := newTransportCredentials(config.GRPC, log)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(secured))
	}
	servers := &grpcServers{&grpcServer{grpc.NewServer(options...), &unary, door.connections, ends, log}, grpc.NewServer(options...), door}
	for _, server := range []*grpc.Server{servers.listening.Server, servers.overHTTP} {
		behind := doorway{server, door}
		orisunpb.RegisterEventStoreServer(behind, store)
		orisunpb.RegisterAdminServer(behind, callers.admin)
		healthpb.RegisterHealthServer(behind, healthy)
		if config.GRPC.EnableReflection {
			reflection.Register(behind)
		}
	}
	return servers, nil
}

// chainUnary is interceptors as one, the first of them outermost.
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
