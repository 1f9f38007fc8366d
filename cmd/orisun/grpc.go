package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// leastPingInterval is how often a client may ping a connection before it is taken for an attack and cut.
const leastPingInterval = 5 * time.Second

// newGRPCServer builds the gRPC server with everything that stands before the services: limits, keep-alive, log, recovery, credentials.
func newGRPCServer(config *Config, store *service.EventStore, callers *callers, healthy healthpb.HealthServer, log *slog.Logger) (*grpc.Server, error) {
	options := []grpc.ServerOption{
		grpc.ConnectionTimeout(config.GRPC.ConnectionTimeout),
		grpc.MaxConcurrentStreams(config.GRPC.MaxConcurrentStreams),
		grpc.MaxRecvMsgSize(config.GRPC.MaxReceiveMessageSize),
		grpc.MaxSendMsgSize(config.GRPC.MaxSendMessageSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: config.GRPC.KeepAliveTime, Timeout: config.GRPC.KeepAliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPingInterval, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(logUnary(log), recovery.UnaryServerInterceptor(recoverPanic(log)), callers.auth.UnaryInterceptor),
		grpc.ChainStreamInterceptor(logStream(log), recovery.StreamServerInterceptor(recoverPanic(log)), callers.auth.StreamInterceptor),
	}
	if config.GRPC.TLSEnabled {
		secured, err := newTLS(config.GRPC)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(secured)))
	}
	server := grpc.NewServer(options...)
	orisunpb.RegisterEventStoreServer(server, store)
	orisunpb.RegisterAdminServer(server, callers.admin)
	healthpb.RegisterHealthServer(server, healthy)
	if config.GRPC.EnableReflection {
		reflection.Register(server)
	}
	return server, nil
}

func newTLS(config GRPCConfig) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(config.TLSCertFile, config.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("ORISUN_GRPC_TLS_CERT_FILE, ORISUN_GRPC_TLS_KEY_FILE: %w", err)
	}
	secured := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	if config.TLSClientAuthRequired {
		authorities, err := os.ReadFile(config.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("ORISUN_GRPC_TLS_CA_FILE: %w", err)
		}
		secured.ClientCAs = x509.NewCertPool()
		if !secured.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("ORISUN_GRPC_TLS_CA_FILE: %s holds no certificate in PEM form", config.TLSCAFile)
		}
		secured.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return secured, nil
}
