package server_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

const clusterTimeout = 90 * time.Second

// await calls look until it is true.
func await(t *testing.T, what string, look func() bool) {
	t.Helper()
	tick, timeout := time.NewTicker(20*time.Millisecond), time.After(clusterTimeout)
	defer tick.Stop()
	for !look() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s: not within %s", what, clusterTimeout)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// startCluster starts nodes of one store, called a, b, c …
func startCluster(t *testing.T, count int) (nodes []*servertest.Server) {
	t.Helper()
	database, first := pgtest.Clone(t), freePort(t)
	for i := range count {
		port := first
		if i > 0 {
			port = freePort(t)
		}
		nodes = append(nodes, servertest.StartOn(t, database, "ORISUN_NATS_SERVER_NAME="+string(rune('a'+i)),
			"ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_PASSWORD=secret",
			"ORISUN_NATS_CLUSTER_HOST=127.0.0.1", "ORISUN_NATS_CLUSTER_PORT="+port,
			"ORISUN_NATS_CLUSTER_ROUTES=nats://127.0.0.1:"+first))
	}
	return nodes
}

func listNodes(t *testing.T, admin orisunpb.AdminClient) *orisunpb.ListNodesResponse {
	t.Helper()
	all, err := admin.ListNodes(t.Context(), &orisunpb.ListNodesRequest{WithHistory: true})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func boundaryOf(node *orisunpb.NodeStatus, name string) *orisunpb.NodeBoundary {
	for _, boundary := range node.GetBoundaries() {
		if boundary.GetName() == name {
			return boundary
		}
	}
	return nil
}

func TestEachNodeReportsItselfToTheOthers(t *testing.T) {
	servers := startCluster(t, 3)
	admin := orisunpb.NewAdminClient(servers[0].Dial(t))
	for i, server := range servers { // i+1 saves through each
		store := orisunpb.NewEventStoreClient(server.Dial(t))
		for n := range i + 1 {
			if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: "orisun_test_1",
				Events:   []*orisunpb.EventToSave{{EventId: fmt.Sprint(i, n), EventType: "Saved"}},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all *orisunpb.ListNodesResponse
	await(t, "three nodes report their saves, and one publishes each boundary", func() bool {
		all = listNodes(t, admin)
		publishers, leaders := map[string]int{}, map[string]int{}
		for i, node := range all.GetNodes() {
			for _, boundary := range node.GetBoundaries() {
				if boundary.GetPublishes() {
					publishers[boundary.GetName()]++
				}
				if boundary.GetLeadsStream() {
					leaders[boundary.GetName()]++
				}
			}
			if node.GetProjectsUsers() {
				leaders["users"]++
			}
			if node.GetLeadsJetstream() {
				leaders["JetStream"]++
			}
			one := boundaryOf(node, "orisun_test_1")
			if one.GetSaves() != int64(i+1) || one.GetEvents() != 6 || one.GetOutboxEvents() != 0 ||
				!node.GetReady() || node.GetFlushes() == 0 {
				return false
			}
		}
		return len(all.GetNodes()) == 3 && len(all.GetUnanswered()) == 0 && publishers["orisun_test_1"] == 1 &&
			publishers["orisun_test_2"] == 1 && maps.Equal(leaders, map[string]int{
			"users": 1, "JetStream": 1, "orisun_admin": 1, "orisun_test_1": 1, "orisun_test_2": 1,
		})
	})
	for i, node := range all.GetNodes() {
		if want := string(rune('a' + i)); node.GetName() != want || node.GetVersion() == "" ||
			node.GetStartedAt().AsTime().After(node.GetMeasuredAt().AsTime()) {
			t.Errorf("node %d is %v, want %s", i, node, want)
		}
		var checks []string
		for _, check := range node.GetChecks() {
			checks = append(checks, check.GetName())
			if check.GetName() == "postgresql" && !check.GetOk() {
				t.Errorf("node %s: %v", node.GetName(), check)
			}
		}
		if want := []string{"cluster", "jetstream", "migrations", "postgresql", "saves"}; !slices.Equal(checks, want) {
			t.Errorf("node %s has the checks %q, want %q", node.GetName(), checks, want)
		}
	}
	if all.GetNode() != "a" {
		t.Errorf("node %q answered, want a", all.GetNode())
	}

	began := time.Now()
	servers[2].Stop()
	await(t, "the stopped node is disconnected", func() bool {
		all = listNodes(t, admin)
		return len(all.GetUnanswered()) == 0 && len(all.GetDisconnected()) == 1 && len(all.GetNodes()) == 2
	})
	if away := all.GetDisconnected()[0]; away.GetName() != "c" || away.GetSince().AsTime().Before(began) ||
		away.GetSince().AsTime().After(time.Now()) {
		t.Errorf("disconnected is %v", away)
	}
	subscribers, err := admin.ListSubscribers(t.Context(), &orisunpb.ListSubscribersRequest{Boundary: "orisun_test_1"})
	if err != nil || len(subscribers.GetUnanswered()) != 0 || len(subscribers.GetDisconnected()) != 1 ||
		!proto.Equal(subscribers.GetDisconnected()[0], all.GetDisconnected()[0]) {
		t.Errorf("ListSubscribers: %v, %v", subscribers, err)
	}
	await(t, "the history of the other nodes has their saves", func() bool {
		all = listNodes(t, admin)
		saves := map[string]float64{}
		for _, node := range all.GetNodes() {
			for _, sample := range node.GetHistory() {
				saves[node.GetName()] = max(saves[node.GetName()], sample.GetSaves())
			}
		}
		return saves["a"] > 0 && saves["b"] > 0
	})
	if without, err := admin.ListNodes(t.Context(), &orisunpb.ListNodesRequest{}); err != nil ||
		len(without.GetNodes()[0].GetHistory()) != 0 {
		t.Errorf("without history: %v, %v", without, err)
	}
}

// Counters of a deleted boundary stay in the metrics until the restart.
func TestNoNodeReportsADeletedBoundary(t *testing.T) {
	servers := startCluster(t, 2)
	admin := orisunpb.NewAdminClient(servers[0].Dial(t))
	if _, err := admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
		Name: "orders", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "orders"},
	}); err != nil {
		t.Fatal(err)
	}
	for i, server := range servers {
		await(t, "a save is stored through each node", func() bool {
			_, err := orisunpb.NewEventStoreClient(server.Dial(t)).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: "orders", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "Saved"}},
			})
			return err == nil
		})
	}
	reported := func() (saves, reports int) {
		all := listNodes(t, admin)
		for _, node := range all.GetNodes() {
			if boundary := boundaryOf(node, "orders"); boundary != nil {
				reports++
				saves += int(boundary.GetSaves())
			}
		}
		if len(all.GetNodes()) < len(servers) {
			return -1, -1
		}
		return saves, reports
	}
	await(t, "both nodes report it", func() bool { saves, reports := reported(); return saves == 2 && reports == 2 })
	if _, err := admin.DeleteBoundary(t.Context(), &orisunpb.DeleteBoundaryRequest{
		Name: "orders", ConfirmName: "orders",
	}); err != nil {
		t.Fatal(err)
	}
	await(t, "no node reports it", func() bool { _, reports := reported(); return reports == 0 })
}

func TestSubscribersOfAllNodesAreListed(t *testing.T) {
	servers := startCluster(t, 2)
	admin := orisunpb.NewAdminClient(servers[0].Dial(t))
	store := orisunpb.NewEventStoreClient(servers[0].Dial(t))
	subscribe := func(server *servertest.Server, request *orisunpb.CatchUpSubscribeToEventStoreRequest) {
		t.Helper()
		request.Boundary, request.AfterPosition = "orisun_test_1", eventtest.Beginning
		stream, err := orisunpb.NewEventStoreClient(server.Dial(t)).CatchUpSubscribeToEvents(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(servers[0], &orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "mailer"})
	subscribe(servers[1], &orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "mailer"}) // a standby
	subscribe(servers[1], &orisunpb.CatchUpSubscribeToEventStoreRequest{Query: &orisunpb.Query{
		Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "event_type", Value: "Other"}}}},
	}})
	for n := range 5 {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(n), EventType: "Saved"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(boundary string, count uint32) (*orisunpb.ListSubscribersResponse, error) {
		return admin.ListSubscribers(t.Context(), &orisunpb.ListSubscribersRequest{Boundary: boundary, Count: count})
	}
	var all *orisunpb.ListSubscribersResponse
	await(t, "the active ones have looked at all events", func() bool {
		var err error
		if all, err = list("orisun_test_1", 0); err != nil {
			t.Fatal(err)
		}
		return all.GetTotal() == 3 && all.GetSubscribers()[1].GetBehind() == 0
	})
	standby := all.GetSubscribers()[0]
	if !standby.GetStandby() || standby.GetBehind() != 5 || standby.GetGlobalId() != -1 || standby.GetNode() != "b" {
		t.Errorf("the standby is %v", standby)
	}
	for _, s := range all.GetSubscribers() {
		if s.GetUsername() != "admin" || s.GetAddress() == "" || s.GetConnectedAt().AsTime().IsZero() ||
			s.GetFiltered() != (s.GetSubscriberName() == "") {
			t.Errorf("%v", s)
		}
	}
	if one, err := list("orisun_test_1", 1); err != nil || len(one.GetSubscribers()) != 1 || one.GetTotal() != 3 ||
		!one.GetSubscribers()[0].GetStandby() {
		t.Errorf("one: %v, %v", one, err)
	}
	if other, err := list("orisun_test_2", 0); err != nil || other.GetTotal() != 0 {
		t.Errorf("another boundary: %v, %v", other, err)
	}
	for _, wrong := range []struct {
		boundary string
		count    uint32
		want     codes.Code
	}{
		{"", 0, codes.InvalidArgument}, {"orisun_test_1", 501, codes.InvalidArgument}, {"unknown", 0, codes.NotFound},
	} {
		if _, err := list(wrong.boundary, wrong.count); status.Code(err) != wrong.want {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// conflict saves once under the context of a seat, which changes it, and then refuses count times.
func conflict(t *testing.T, server *servertest.Server, boundary, seat string, count int) {
	t.Helper()
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	for i := range count + 1 {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: boundary,
			Query: &orisunpb.SaveQuery{Criteria: []*orisunpb.Criterion{
				{Tags: []*orisunpb.Tag{{Key: "seat", Value: seat}}},
			}},
			Events: []*orisunpb.EventToSave{{
				EventId: rand.Text(), EventType: "SeatTaken", Data: fmt.Sprintf(`{"seat": %q}`, seat),
			}},
		})
		if code := status.Code(err); code != codes.AlreadyExists && (i > 0 || code != codes.OK) {
			t.Fatalf("save %d: %v", i, err)
		}
	}
}

func TestConflictsOfAllNodesAreListed(t *testing.T) {
	servers := startCluster(t, 2)
	admin := orisunpb.NewAdminClient(servers[0].Dial(t))
	list := func(boundary string, count uint32) *orisunpb.ListConflictsResponse {
		t.Helper()
		answer, err := admin.ListConflicts(t.Context(), &orisunpb.ListConflictsRequest{Boundary: boundary, Count: count})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	conflict(t, servers[0], "orisun_test_1", "everywhere", 2)
	conflict(t, servers[1], "orisun_test_1", "everywhere", 2) // three: the seat is taken
	for i := range 4 {
		conflict(t, servers[i%2], "orisun_test_1", fmt.Sprint(i), 3)
	}
	var all *orisunpb.ListConflictsResponse
	await(t, "both nodes answer", func() bool { all = list("orisun_test_1", 2); return len(all.GetNodes()) == 2 })
	first := all.GetContexts()[0]
	if len(all.GetContexts()) != 2 || first.GetCount() != 5 || all.GetContexts()[1].GetCount() != 3 ||
		first.GetCriteria()[0].GetTags()[0].GetValue() != "everywhere" || all.GetTotal() != 17 {
		t.Errorf("the conflicts are %v", all)
	}
	sum := func(minutes []int64) (sum int64) {
		for _, count := range minutes {
			sum += count
		}
		return sum
	}
	if sum(all.GetMinutes()) != 17 || sum(first.GetMinutes()) != 5 || len(all.GetMinutes()) != 60 {
		t.Errorf("by minute: %v; %v of the first context", all.GetMinutes(), first.GetMinutes())
	}
	if all.GetNode() != "a" || all.GetNodes()[0].GetName() != "a" || all.GetNodes()[0].GetTotal() != 8 ||
		all.GetNodes()[1].GetName() != "b" || all.GetNodes()[1].GetTotal() != 9 ||
		!proto.Equal(all.GetSince(), all.GetNodes()[1].GetSince()) || len(all.GetUnanswered()) != 0 {
		t.Errorf("node %s answers with the nodes %v since %v", all.GetNode(), all.GetNodes(), all.GetSince())
	}
	if other := list("orisun_test_2", 0); other.GetTotal() != 0 || len(other.GetContexts()) != 0 {
		t.Errorf("another boundary: %v", other)
	}
	servers[1].Stop()
	await(t, "the stopped node is disconnected", func() bool {
		all = list("orisun_test_1", 0)
		return len(all.GetDisconnected()) == 1
	})
	if all.GetTotal() != 8 || len(all.GetNodes()) != 1 || all.GetDisconnected()[0].GetName() != "b" {
		t.Errorf("without the stopped node: %v", all)
	}
}

func TestNoNodeListsConflictsOfADeletedBoundary(t *testing.T) {
	servers := startCluster(t, 2)
	admin := orisunpb.NewAdminClient(servers[0].Dial(t))
	create := func() {
		t.Helper()
		if _, err := admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
			Name: "orders", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "orders"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	total := func() int64 {
		t.Helper()
		all, err := admin.ListConflicts(t.Context(), &orisunpb.ListConflictsRequest{Boundary: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		return all.GetTotal()
	}
	create()
	await(t, "both nodes know the boundary", func() bool {
		known := slices.DeleteFunc(listNodes(t, admin).GetNodes(), func(node *orisunpb.NodeStatus) bool {
			return boundaryOf(node, "orders") == nil
		})
		return len(known) == len(servers)
	})
	for _, server := range servers {
		conflict(t, server, "orders", "12A", 1)
	}
	await(t, "both nodes count", func() bool { return total() == 3 })
	if _, err := admin.DeleteBoundary(t.Context(), &orisunpb.DeleteBoundaryRequest{
		Name: "orders", ConfirmName: "orders",
	}); err != nil {
		t.Fatal(err)
	}
	create()
	await(t, "the counts begin again", func() bool { return total() == 0 })
}
