package main

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// TestSubscriberNamesAreBoundedAndBelongToTheirUser opens names until they are refused, as a user who may read one boundary.
func TestSubscriberNamesAreBoundedAndBelongToTheirUser(t *testing.T) {
	const limit = 20
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), append(outside(config), fmt.Sprint("ORISUN_GRPC_MAX_SUBSCRIBER_NAMES=", limit))...))
	admin := connect(t, server.address)
	hostile := connectAs(t, server.address, "hostile", "read:"+followedBoundary)
	other := connectAs(t, server.address, "other", "read:"+followedBoundary)
	indexer := connectAs(t, server.address, "indexer", "read:"+followedBoundary, "admin:"+followedBoundary)
	named := func(name string) *orisunpb.CatchUpSubscribeToEventStoreRequest {
		return &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: followedBoundary, SubscriberName: name, AfterPosition: start}
	}
	ends := func(client orisunpb.EventStoreClient, name string) error {
		t.Helper()
		stream, err := client.CatchUpSubscribeToEvents(t.Context(), named(name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return err
	}
	save(t, admin, "writer", 0, 1)
	var open []*subscription
	for i := range limit {
		open = append(open, subscribe(t, hostile, named(fmt.Sprint(i))))
		open[i].reaches("writer-0") // it holds the name
	}
	if err := ends(hostile, "one more"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a name beyond the limit: %v", err)
	}
	if err := ends(other, "0"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a name that another user holds: %v", err)
	}
	subscribe(t, other, named("of the other")).reaches("writer-0")
	standby := subscribe(t, indexer, named("0"))
	save(t, admin, "writer", 1, 1)

	open[0].stop()
	standby.reaches("writer-1")
	subscribe(t, hostile, named("one more")).reaches("writer-1")
}
