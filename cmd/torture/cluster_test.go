package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // a client's side of healthCheckConfig
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

const wait = time.Minute

func save(t *testing.T, n *node, id string) *orisunpb.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	result, err := n.store.SaveEvents(ctx, unconditional(id))
	if err != nil {
		t.Fatalf("save %s on %s: %v", id, n.name, err)
	}
	return result.GetLogPosition()
}

// arrival is an event's id and when it came.
type arrival struct {
	id string
	at time.Time
}

// follow subscribes to a node, and returns what comes.
func follow(t *testing.T, n *node) <-chan arrival {
	t.Helper()
	stream, err := n.store.CatchUpSubscribeToEvents(t.Context(),
		&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: boundary})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	arrivals := make(chan arrival, 100_000)
	go func() {
		defer close(arrivals)
		for {
			event, err := stream.Recv()
			if err != nil {
				return
			}
			arrivals <- arrival{event.GetEventId(), time.Now()}
		}
	}()
	return arrivals
}

func receive(t *testing.T, ids <-chan arrival, want string) time.Duration {
	t.Helper()
	start := time.Now()
	select {
	case next, open := <-ids:
		if next.id != want {
			t.Fatalf("got %q (open: %t), want %q", next.id, open, want)
		}
	case <-time.After(wait):
		t.Fatalf("%s never came", want)
	}
	return time.Since(start)
}

// streamInfo is what a node's NATS says of the boundary's stream, or nil.
func streamInfo(t *testing.T, n *node) *jetstream.StreamInfo {
	t.Helper()
	conn, err := nats.Connect("nats://127.0.0.1:"+strconv.Itoa(n.natsPort), nats.UserInfo("admin", "changeit"),
		nats.RootCAs(n.tlsDir()+"/ca.crt"))
	if err != nil {
		return nil
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, publisher.StreamName(boundary))
	if err != nil {
		return nil
	}
	return stream.CachedInfo()
}

// TestNodesStartedOneAfterAnotherServeFromTheFirstOn goes from one node without quorum to three with a replicated
// stream.
func TestNodesStartedOneAfterAnotherServeFromTheFirstOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.nodes[0]
	for i, n := range c.nodes {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if err := n.awaitServing(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids := follow(t, first)
		id := "started-" + n.name
		save(t, n, id)
		t.Logf("with %d nodes an event of %s came to %s after %s", i+1, n.name, first.name, receive(t, ids, id))
		if i == 1 {
			within(t, wait, "a stream with one copy", func() bool {
				info := streamInfo(t, first)
				return info != nil && info.Config.Replicas == 1 && info.State.Msgs == 2
			})
		}
	}
	within(t, wait, "a stream with three copies that has all", func() bool {
		info := streamInfo(t, c.nodes[2])
		return info != nil && info.Config.Replicas == 3 && len(info.Cluster.Replicas) == 2 && info.State.Msgs == 3
	})
	within(t, 10*time.Second, "one owner and others that wait", func() bool {
		owners := 0
		for _, n := range c.nodes {
			if logs(t, n, "Successfully acquired lock for boundary: "+boundary) {
				owners++
			} else if !logs(t, n, "Failed to acquire lock for boundary: "+boundary) {
				return false
			}
		}
		return owners == 1
	})
	// What docs/cluster.md has for psql.
	var held int
	err := c.admin.QueryRow(t.Context(), `
		SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		  JOIN orisun.boundary b ON b.number = l.objid::bigint
		 WHERE l.locktype = 'advisory' AND l.classid = orisun.lease_class()::oid AND l.objsubid = 2
		   AND b.name = $1`, boundary).Scan(&held)
	if err != nil || held != 1 {
		t.Errorf("PostgreSQL says that %d sessions hold the lease, %v", held, err)
	}
}

// serving returns a cluster whose nodes all serve, and its stream is there.
func serving(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	if err := c.serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, wait, "a stream", func() bool { return streamInfo(t, c.nodes[0]) != nil })
	return c
}

const acquired = "Successfully acquired lock for boundary: " + boundary

// owner is the node that publishes.
func owner(t *testing.T, c *cluster) (n *node, others []*node) {
	t.Helper()
	for _, candidate := range c.nodes {
		if logs(t, candidate, acquired) {
			n = candidate
		} else {
			others = append(others, candidate)
		}
	}
	if n == nil || len(others) != 2 {
		t.Fatalf("not one owner at the start: %v, others %v", n, others)
	}
	return n, others
}

// wantStreamEqualsLog waits until the stream has all of the log, and compares.
func wantStreamEqualsLog(t *testing.T, c *cluster) {
	t.Helper()
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, anomaly := range checkStream(t.Context(), c, log) {
		t.Error(anomaly)
	}
}

// TestAStoppedNodeLosesItsLeasesAndPublishesNothingStale stops the owner for 30 seconds: its kernel answers
// PostgreSQL's keep-alives all the time. PostgreSQL's clock is set back by hours right after, where it can be, so that
// no timeout of PostgreSQL comes in time to end what is silent.
func TestAStoppedNodeLosesItsLeasesAndPublishesNothingStale(t *testing.T) {
	t.Parallel()
	c := serving(t)
	stopped, others := owner(t, c)
	ids := follow(t, others[0])
	writing, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() { // so that it is stopped in the midst of publishing
		n := 0
		for ; writing.Err() == nil; n++ {
			if _, err := others[1].store.SaveEvents(t.Context(), unconditional("w"+strconv.Itoa(n))); err != nil {
				t.Errorf("save %d: %v", n, err)
				break
			}
		}
		written <- n
	}()
	for i := range 100 {
		receive(t, ids, "w"+strconv.Itoa(i))
	}
	if err := stopped.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if c.clock != nil {
		if err := c.clock.set(-3 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	continued := time.After(30 * time.Second)
	took := within(t, 10*time.Second, "a new owner", func() bool {
		return logs(t, others[0], acquired) || logs(t, others[1], acquired)
	})
	t.Logf("a new owner after %s", took)
	next, silence := 100, time.Duration(0)
	for last := since; next > 0; {
		select {
		case came := <-ids:
			if came.id != "w"+strconv.Itoa(next) {
				t.Fatalf("got %s, want w%d", came.id, next)
			}
			next++
			silence, last = max(silence, came.at.Sub(last)), came.at
			continue
		case <-continued:
		}
		break
	}
	t.Logf("longest silence of a subscriber on another node: %s, in which %d events came", silence, next)
	if silence > 10*time.Second {
		t.Errorf("a subscriber on another node heard nothing for %s", silence)
	}
	if err := stopped.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "noticed", func() bool {
		return logs(t, stopped, "the connection that holds this node's locks broke")
	})
	within(t, 20*time.Second, "standing by", func() bool {
		return logs(t, stopped, "Failed to acquire lock for boundary: "+boundary)
	})
	stop()
	count := <-written
	for ; next < count; next++ {
		receive(t, ids, "w"+strconv.Itoa(next))
	}
	wantStreamEqualsLog(t, c)
}

func unconditional(id string) *orisunpb.SaveEventsRequest {
	return &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{
			{EventId: id, EventType: "Written", Data: fmt.Sprintf(`{"id": %q}`, id)},
		},
	}
}

// TestADrainingNodeSaysSoAndBalancedClientsGoOn ends each node in turn by SIGTERM, under a client that balances over
// all three.
func TestADrainingNodeSaysSoAndBalancedClientsGoOn(t *testing.T) {
	t.Parallel()
	c := serving(t)
	nodes := manual.NewBuilderWithScheme("nodes")
	var addresses []resolver.Address
	for _, n := range c.nodes {
		addresses = append(addresses, resolver.Address{Addr: "127.0.0.1:" + strconv.Itoa(n.grpcPort)})
	}
	nodes.InitialState(resolver.State{Addresses: addresses})
	conn, err := grpc.NewClient("nodes:///", grpc.WithResolvers(nodes),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(basic{}),
		grpc.WithDefaultServiceConfig(`{
			"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}
		}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	store := orisunpb.NewEventStoreClient(conn)
	// answeredBy is the node that answers a save and a read.
	answeredBy := func(when string) string {
		_, err := store.SaveEvents(t.Context(), unconditional(rand.Text()))
		info, infoErr := store.GetServerInfo(t.Context(), &orisunpb.GetServerInfoRequest{})
		if err := errors.Join(err, infoErr); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		return info.GetNodeId()
	}
	for _, n := range c.nodes {
		within(t, wait, "served by "+n.name, func() bool { return answeredBy("before") == n.name || t.Failed() })
	}
	for _, n := range c.nodes {
		watch, err := healthpb.NewHealthClient(n.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if now, err := watch.Recv(); err != nil || now.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("%s before: %v, %v", n.name, now, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- n.end(syscall.SIGTERM) }() // an error if something had to be cut when the time to drain was over
		if now, err := watch.Recv(); err != nil || now.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("%s while it drains: %v, %v", n.name, now, err)
		}
		for range 300 {
			answeredBy(n.name + " drains")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := errors.Join(n.start(), n.awaitServing(t.Context())); err != nil {
			t.Fatal(err)
		}
		// As in any rolling restart, the next one waits until clients have found this one again.
		within(t, wait, "served by "+n.name+" again", func() bool {
			return answeredBy("after "+n.name) == n.name || t.Failed()
		})
	}
	wantStreamEqualsLog(t, c)
}

// TestTheLastNodeServesWithoutAQuorum kills two of three: JetStream has no majority any more.
func TestTheLastNodeServesWithoutAQuorum(t *testing.T) {
	t.Parallel()
	c := serving(t)
	last := c.nodes[2]
	ids := follow(t, last)
	save(t, c.nodes[0], "before")
	receive(t, ids, "before")
	for _, n := range c.nodes[:2] {
		if err := n.end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, "the owner", func() bool { return logs(t, last, acquired) })
	var slowest time.Duration
	for i := range 20 {
		id := "alone-" + strconv.Itoa(i)
		save(t, last, id)
		slowest = max(slowest, receive(t, ids, id))
	}
	t.Logf("the slowest event came after %s", slowest)
	if slowest > 3*time.Second {
		t.Errorf("without a quorum an event came after %s", slowest)
	}
	late := &subscriber{}
	following, stop := context.WithCancel(t.Context())
	defer stop()
	go late.run(following, &cluster{nodes: []*node{last, last, last}}, seeded(1, 1))
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, anomaly := range late.check(t.Context(), log) {
		t.Error(anomaly)
	}
	for _, n := range c.nodes[:2] {
		if err := errors.Join(n.start(), n.awaitServing(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	wantStreamEqualsLog(t, c)
}
