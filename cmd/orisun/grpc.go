package main

import (
	"log/slog"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// leastPingInterval is how often a client may ping a connection before it is taken for an attack and cut.
const leastPingInterval = 5 * time.Second

// callWorkers is how many goroutines wait for calls: to grow the stack of a new one takes a tenth of a short call.
const callWorkers = 32

// grpcServers are two doors to the same services: one listens, through the other come calls by HTTP. gRPC cannot drain a server that does both.
type grpcServers struct {
	listening *grpcServer
	overHTTP  *grpc.Server
}

// newGRPCServers builds them with everything that stands before the services: limits, keep-alive, telemetry, log, recovery, credentials.
func newGRPCServers(config *Config, store *service.EventStore, callers *callers, observed *callObserver, healthy healthpb.HealthServer, log *slog.Logger) (*grpcServers, error) {
	var unary calls
	ends := newCallLog(log)
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
		grpc.ChainUnaryInterceptor(observed.unary, unary.count, ends.unary, recovery.UnaryServerInterceptor(recoverPanic(log)), callers.auth.UnaryInterceptor),
		grpc.ChainStreamInterceptor(observed.stream, unary.countStream, ends.stream, recovery.StreamServerInterceptor(recoverPanic(log)), callers.auth.StreamInterceptor),
	}
	if config.GRPC.TLSEnabled {
		secured, err := newTransportCredentials(config.GRPC, log)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(secured))
	}
	servers := &grpcServers{&grpcServer{grpc.NewServer(options...), &unary, ends, log}, grpc.NewServer(options...)}
	for _, server := range []*grpc.Server{servers.listening.Server, servers.overHTTP} {
		orisunpb.RegisterEventStoreServer(server, store)
		orisunpb.RegisterAdminServer(server, callers.admin)
		healthpb.RegisterHealthServer(server, healthy)
		if config.GRPC.EnableReflection {
			reflection.Register(server)
		}
	}
	return servers, nil
}
