package main

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// TestSubscriberNamesAreBoundedAndBelongToTheirUser opens names until they are refused, as a user who may read one
// boundary.
func TestSubscriberNamesAreBoundedAndBelongToTheirUser(t *testing.T) {
	const limit = 20
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(),
		append(outside(config), fmt.Sprint("ORISUN_GRPC_MAX_SUBSCRIBER_NAMES=", limit))...))
	admin := connect(t, server.address)
	hostile := connectAs(t, server.address, "hostile", "read:"+eventtest.Boundary)
	other := connectAs(t, server.address, "other", "read:"+eventtest.Boundary)
	indexer := connectAs(t, server.address, "indexer", "read:"+eventtest.Boundary, "admin:"+eventtest.Boundary)
	named := func(name string) *orisunpb.CatchUpSubscribeToEventStoreRequest {
		return &orisunpb.CatchUpSubscribeToEventStoreRequest{
			Boundary: eventtest.Boundary, SubscriberName: name, AfterPosition: eventtest.Beginning,
		}
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
	eventtest.Save(t, admin, "writer", 0, 1)
	var open []*eventtest.Subscription
	for i := range limit {
		open = append(open, eventtest.Subscribe(t, hostile, named(fmt.Sprint(i))))
		open[i].Reaches("writer-0") // it holds the name
	}
	if err := ends(hostile, "one more"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a name beyond the limit: %v", err)
	}
	if err := ends(other, "0"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a name that another user holds: %v", err)
	}
	eventtest.Subscribe(t, other, named("of the other")).Reaches("writer-0")
	standby := eventtest.Subscribe(t, indexer, named("0"))
	eventtest.Save(t, admin, "writer", 1, 1)

	open[0].Stop()
	standby.Reaches("writer-1")
	eventtest.Subscribe(t, hostile, named("one more")).Reaches("writer-1")
}
