// Package clienttest has a server in memory for unit tests of programs that use the client. Saves and their conditions,
// retries, positions, pages and subscriptions follow the rules of the real server. There are no users and no rights,
// and indexes have no effect. Durable subscriptions, and what depends on PostgreSQL, need a real server; a test can
// call the handler of a Consume itself.
package clienttest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/memory"
)

const bufferSize = 1 << 20

// New returns a client of a new server in memory that has the boundaries. Both end with the test.
//
//	c := clienttest.New(t, "bank")
func New(t testing.TB, boundaries ...string) *client.Client {
	t.Helper()
	listener, server := bufconn.Listen(bufferSize), grpc.NewServer()
	memory.NewServer(boundaries...).Register(server)
	healthy := health.NewServer() // without it, gRPC logs an error for each client
	healthy.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, healthy)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	c, err := client.Dial("grpc://127.0.0.1", client.WithDialOptions(grpc.WithContextDialer(dial)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}
