package main

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/eventtest"
)

// TestABoundaryCreatedOnOneNodeServesOnEveryNode: saved to, subscribed to and published, by whichever node lives, and
// after restarts.
func TestABoundaryCreatedOnOneNodeServesOnEveryNode(t *testing.T) {
	const limit = 2 * time.Second
	database := outside(pgtest.NewEmpty(t))
	ports, data := []int{freePort(t), freePort(t)}, []string{t.TempDir(), t.TempDir()}
	start := func(i int) *process {
		return launch(t, environment(data[i],
			append(database, "ORISUN_NATS_SERVER_NAME=node-"+strconv.Itoa(i), "ORISUN_NATS_PORT="+strconv.Itoa(ports[i]))...))
	}
	nodes := []*process{start(0), start(1)}
	// Both clients have logged in: checking a password takes a while.
	own, other := connect(t, nodes[0].address), connect(t, nodes[1].address)
	for _, client := range []orisunpb.EventStoreClient{own, other} {
		if _, err := client.Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	streams := []natsjs.JetStream{dialStreams(t, ports[0]), dialStreams(t, ports[1])}
	var out output
	if err := runClient(t.Context(), &out, "boundary", "create", "orders", "--schema", "sales", "--description",
		"Orders of the shop", "--server", nodes[0].address); err != nil {
		t.Fatal(err)
	}
	created := time.Now()
	if !strings.Contains(out.String(), "orders") || !strings.Contains(out.String(), "ACTIVE") {
		t.Errorf("orisun boundary create: %s", out.String())
	}

	live := eventtest.Subscribe(t, other, &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "orders"})
	for i, client := range []orisunpb.EventStoreClient{other, own} {
		if _, err := client.SaveEvents(t.Context(), order(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	live.Reaches("1")
	wantPublished(t, streams, 2)
	if took := time.Since(created); took > limit {
		t.Errorf("it took %v until another node served and published the boundary, at most %v are allowed", took, limit)
	}

	// The publishing node dies: the other node publishes, though it was not notified of the boundary.
	leader := 0
	if !strings.Contains(nodes[0].logged(), "Successfully acquired lock for boundary: orders") {
		leader = 1
	}
	nodes[leader].stop(t, syscall.SIGKILL)
	if _, err := connect(t, nodes[1-leader].address).SaveEvents(t.Context(), order("2")); err != nil {
		t.Fatal(err)
	}
	wantPublished(t, streams[1-leader:2-leader], 3)
	nodes[1-leader].stop(t, syscall.SIGTERM)
	again := start(leader)
	if _, err := connect(t, again.address).SaveEvents(t.Context(), order("3")); err != nil {
		t.Fatal(err)
	}
	wantPublished(t, []natsjs.JetStream{dialStreams(t, ports[leader])}, 4)
	out.text.Reset()
	if err := runClient(t.Context(), &out, "boundary", "list", "--server", again.address); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"orders         sales   ACTIVE  Orders of the shop", "orisun_admin   admin   ACTIVE  admin boundary",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the list lacks %q:\n%s", line, out.String())
		}
	}
	info, err := connect(t, again.address).GetServerInfo(t.Context(), &orisunpb.GetServerInfoRequest{})
	if err != nil || !slices.Contains(info.GetCapabilities(),
		orisunpb.ServerCapability_SERVER_CAPABILITY_BOUNDARY_CATALOG) {
		t.Errorf("the server does not report its catalogue: %v, %v", info, err)
	}
}

func order(id string) *orisunpb.SaveEventsRequest {
	return &orisunpb.SaveEventsRequest{
		Boundary: "orders", Events: []*orisunpb.EventToSave{{EventId: id, EventType: "OrderPlaced", Data: `{}`}},
	}
}

// dialStreams looks into the JetStream of the node whose NATS has this port.
func dialStreams(t *testing.T, port int) natsjs.JetStream {
	t.Helper()
	return dialStreamsAt(t, "127.0.0.1:"+strconv.Itoa(port))
}

func dialStreamsAt(t *testing.T, address string) natsjs.JetStream {
	t.Helper()
	conn, err := nats.Connect("nats://"+address, nats.UserInfo("admin", "changeit"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := natsjs.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// wantPublished waits until the stream of boundary orders, on one of these nodes, ends with the event whose global_id
// is one less.
func wantPublished(t *testing.T, nodes []natsjs.JetStream, events uint64) {
	t.Helper()
	waitFor(t, func() bool {
		return slices.ContainsFunc(nodes, func(js natsjs.JetStream) bool {
			stream, err := js.Stream(t.Context(), publisher.StreamName("orders"))
			return err == nil && stream.CachedInfo().State.LastSeq == events
		})
	})
}

func TestWrongBoundaryCommandsSayWhatTheyNeed(t *testing.T) {
	server := launchWith(t)
	for args, want := range map[string]string{
		"create":                                "needs BOUNDARY, such as: orisun boundary create orders --schema sales",
		"create orders":                         "--schema is missing",
		"create 1st --schema sales":             "INVALID_ARGUMENT\n  name: is \"1st\"",
		"create orisun_admin --schema sales":    "ALREADY_EXISTS",
		"create orders --schema public --adopt": "FAILED_PRECONDITION (BOUNDARY_FAILED)",
		"get":                                   "needs BOUNDARY, such as: orisun boundary get orders",
		"get nowhere":                           "NOT_FOUND",
		"list --server 127.0.0.1:1 --user stranger": "UNAVAILABLE",
	} {
		arguments := append([]string{"boundary"}, strings.Fields(args)...)
		if !strings.Contains(args, "--server") {
			arguments = append(arguments, "--server", server.address)
		}
		if err := runClient(t.Context(), &output{}, arguments...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("orisun boundary %s: %v, want %q", args, err, want)
		}
	}
}

func TestABoundaryIsDeletedWithItsStreamAndSubscriptions(t *testing.T) {
	server := launchWith(t)
	remove := func(args ...string) (string, error) {
		t.Helper()
		var out output
		err := runClient(t.Context(), &out, append([]string{"boundary", "delete", "--server", server.address}, args...)...)
		return out.String(), err
	}
	var out output
	if err := runClient(t.Context(), &out, "boundary", "create", "orders", "--schema", "sales", "--server",
		server.address); err != nil {
		t.Fatal(err)
	}
	store := connect(t, server.address)
	if _, err := store.SaveEvents(t.Context(), order("1")); err != nil {
		t.Fatal(err)
	}
	subscription, err := store.CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orders", SubscriberName: "s", AfterPosition: &orisunpb.Position{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subscription.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := remove("orders", "--confirm", "order"); err == nil ||
		!strings.Contains(err.Error(), "nothing is deleted") {
		t.Errorf("the wrong name: %v", err)
	}
	if _, err := remove("orisun_test_1", "--confirm", "orisun_test_1"); err == nil ||
		!strings.Contains(err.Error(), "BOUNDARY_CONFIGURED") {
		t.Errorf("a boundary of the configuration: %v", err)
	}
	said, err := remove("orders", "--confirm", "orders")
	if err != nil || !strings.Contains(said, "deleted boundary orders with 1 events") {
		t.Fatalf("%s, %v", said, err)
	}
	if _, err := subscription.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("the subscription ends with %v", err)
	}
	waitFor(t, func() bool { return strings.Contains(server.logged(), "its stream is deleted") })
	if log := server.logged(); strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, "lost the lock") {
		t.Errorf("the log complains:\n%s", log)
	}
	if _, err := store.SaveEvents(t.Context(), order("2")); status.Code(err) != codes.NotFound {
		t.Errorf("a save afterwards: %v", err)
	}
}
