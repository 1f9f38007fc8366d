package main

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	orisunpb "github.com/oexza/orisun/proto"
)

// countingNode is a server that counts its calls and says that it serves, or that it does not.
type countingNode struct {
	address string
	calls   atomic.Int32
}

func newCountingNode(t *testing.T, status healthpb.HealthCheckResponse_ServingStatus) *countingNode {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node := &countingNode{address: listener.Addr().String()}
	count := func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		node.calls.Add(1)
		return &orisunpb.PingResponse{}, nil
	}
	server, services := grpc.NewServer(grpc.UnaryInterceptor(count)), health.NewServer()
	services.SetServingStatus("orisun.EventStore", status)
	healthpb.RegisterHealthServer(server, services)
	orisunpb.RegisterEventStoreServer(server, orisunpb.UnimplementedEventStoreServer{})
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return node
}

// Of four nodes one is down and one does not serve.
func TestCallsGoToAllHealthyNodesInTurns(t *testing.T) {
	const down = "127.0.0.1:1"
	first := newCountingNode(t, healthpb.HealthCheckResponse_SERVING)
	second := newCountingNode(t, healthpb.HealthCheckResponse_SERVING)
	ill := newCountingNode(t, healthpb.HealthCheckResponse_NOT_SERVING)
	ping := func(ctx context.Context, store orisunpb.EventStoreClient) error {
		_, err := store.Ping(ctx, &orisunpb.PingRequest{})
		return err
	}
	cluster := &connection{server: strings.Join([]string{down, ill.address, first.address, second.address}, ",")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := withEventStore(ctx, cluster, func(ctx context.Context, store orisunpb.EventStoreClient) error {
		for first.calls.Load() == 0 || second.calls.Load() == 0 { // the second connects later
			if err := ping(ctx, store); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || ill.calls.Load() != 0 {
		t.Errorf("%v; %d, %d and %d calls", err, first.calls.Load(), second.calls.Load(), ill.calls.Load())
	}
	err = withEventStore(ctx, &connection{server: down + "," + ill.address}, ping)
	if err == nil || !strings.Contains(err.Error(), "no server answers at "+down+","+ill.address) ||
		ill.calls.Load() != 0 {
		t.Errorf("where no node serves: %v", err)
	}
}
