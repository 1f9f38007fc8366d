package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/transport"
)

func TestTheCallsOfAConnectionBeyondItsLimitWaitAndHoldUpNoOther(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_GRPC_MAX_CONCURRENT_CALLS=2")...))
	store, other := connect(t, server.address), connect(t, server.address)
	tx, release := holdPositions(t, config)
	var saving sync.WaitGroup
	for i := range 2 {
		saving.Go(func() {
			_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "T", Data: `{}`}},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return isWaiting(t, tx) })
	waitFor(t, func() bool { // both are under way
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := store.Ping(ctx, &orisunpb.PingRequest{})
		return status.Code(err) == codes.DeadlineExceeded
	})
	if _, err := other.Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Errorf("another connection: %v", err)
	}
	subscribeNamed(t.Context(), t, server, nil) // subscriptions do not count
	pinged := make(chan error, 1)
	go func() {
		_, err := store.Ping(t.Context(), &orisunpb.PingRequest{})
		pinged <- err
	}()
	release()
	saving.Wait()
	if err := <-pinged; err != nil {
		t.Errorf("a call that waited: %v", err)
	}
}

func TestAnAddressHasSoManyCallsWithoutCredentials(t *testing.T) {
	server := launchWith(t)
	conn := dial(t, server.address)
	health := healthpb.NewHealthClient(conn)
	for range transport.MaxOpenCalls {
		watch, err := health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: %v", err)
	}
	if _, err := connect(t, server.address).Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Errorf("a call with credentials: %v", err)
	}
}

func TestRequestsMayComeInGzipAndHeadersAreShort(t *testing.T) {
	server := launchWith(t)
	store := connect(t, server.address)
	data := `{"pad": "` + strings.Repeat("x", 100_000) + `"}`
	_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: data}},
	}, grpc.UseCompressor(grpcgzip.Name))
	if err != nil {
		t.Fatal(err)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_test_1"},
		grpc.UseCompressor(grpcgzip.Name))
	if err != nil || len(page.GetEvents()) != 1 || page.GetEvents()[0].GetData() != data {
		t.Errorf("what was sent in gzip is read as %v, %v", page, err)
	}
	long := metadata.AppendToOutgoingContext(t.Context(), "pad", strings.Repeat("x", transport.MaxHeaderBytes))
	if _, err := store.Ping(long, &orisunpb.PingRequest{}); err == nil {
		t.Error("headers of more than 16 kB are taken")
	}
	if _, err := store.Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Errorf("the next call on that connection: %v", err)
	}
}
