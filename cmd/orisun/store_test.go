package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// clustered is the environment of a node of a cluster with the default name.
func clustered(t *testing.T, config *pgx.ConnConfig, name string, port int, routes ...int) []string {
	t.Helper()
	var urls []string
	for _, route := range routes {
		urls = append(urls, (&url.URL{Scheme: "nats", Host: "127.0.0.1:" + strconv.Itoa(route)}).String())
	}
	return environment(t.TempDir(), append(outside(config), "ORISUN_NATS_SERVER_NAME="+name,
		"ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_PASSWORD=secret", "ORISUN_NATS_CLUSTER_HOST=127.0.0.1",
		"ORISUN_NATS_CLUSTER_PORT="+strconv.Itoa(port), "ORISUN_NATS_CLUSTER_ROUTES="+strings.Join(urls, ","))...)
}

// storeOf is the identity that a database has.
func storeOf(t *testing.T, config *pgx.ConnConfig) (id string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT store_id::text FROM orisun.store").Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestANodeRefusesAClusterThatServesAnotherStore(t *testing.T) {
	one, another, ports := pgtest.Clone(t), pgtest.Clone(t), []int{freePort(t), freePort(t)}
	launch(t, clustered(t, one, "one", ports[0], ports[1]))
	code, output := runToEnd(t, clustered(t, another, "another", ports[1], ports[0]))
	lines := problems(output)
	last := lines[len(lines)-1]
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	for _, want := range []string{
		"the NATS cluster serves another store", storeOf(t, one), storeOf(t, another), "ORISUN_NATS_CLUSTER_ROUTES",
		"ORISUN_PG_NAME",
	} {
		if !strings.Contains(last, want) {
			t.Errorf("the error does not say %q:\n%s", want, last)
		}
	}
}

// The other node starts first, when nothing says yet that the cluster will serve another store.
func TestNodesOfTwoStoresNeverShareEvents(t *testing.T) {
	one, another, ports := pgtest.Clone(t), pgtest.Clone(t), []int{freePort(t), freePort(t)}
	nodes := []*process{
		launch(t, clustered(t, another, "another", ports[1], ports[0])),
		launch(t, clustered(t, one, "one", ports[0], 1)),
	}
	waitFor(t, func() bool {
		return strings.Contains(nodes[0].logged(), "is refused") && strings.Contains(nodes[1].logged(), "is refused")
	})
	for i, boundary := range []string{"orisun_test_1", "orisun_test_2"} {
		node, other := connect(t, nodes[i].address), connect(t, nodes[1-i].address)
		request := &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: boundary, AfterPosition: eventtest.Beginning}
		own, foreign := eventtest.Subscribe(t, node, request), eventtest.Subscribe(t, other, request)
		// The other node's come first: at the positions that come next here, too.
		for _, writer := range []orisunpb.EventStoreClient{other, node} {
			var last string
			for n := range 3 {
				last = fmt.Sprintf("%d-%t-%d", i, writer == node, n)
				_, err := writer.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
					Boundary: boundary, Events: []*orisunpb.EventToSave{{EventId: last, EventType: "T", Data: `{}`}},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if writer == other {
				foreign.Reaches(last)
			}
		}
		page, err := node.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary})
		if err != nil {
			t.Fatal(err)
		}
		own.Wants(page.GetEvents())
	}
}

func TestATokenOfTheOriginalIsVoidInACopy(t *testing.T) {
	config := pgtest.Clone(t)
	original := launch(t, environment(t.TempDir(), outside(config)...))
	token := tokenOf(t, original)
	if err := pingWith(t, original, token); err != nil {
		t.Fatalf("the original refuses its own token: %v", err)
	}
	original.stop(t, syscall.SIGTERM)
	copied := launch(t, environment(t.TempDir(), outside(pgtest.Copy(t, config))...))
	if err := pingWith(t, copied, token); err == nil {
		t.Error("the copy takes a token of the original")
	}
	if !strings.Contains(copied.logged(), "this database is a copy of another store") {
		t.Errorf("the log does not say that the database is a copy:\n%s", copied.logged())
	}
	again := launch(t, environment(t.TempDir(), outside(config)...))
	if err := pingWith(t, again, token); err != nil {
		t.Errorf("after a restart, the original refuses its own token: %v", err)
	}
}

func tokenOf(t *testing.T, server *process) string {
	t.Helper()
	var header metadata.MD
	if _, err := connect(t, server.address).Ping(t.Context(), &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	return header.Get("x-auth-token")[0]
}

func pingWith(t *testing.T, server *process, token string) error {
	t.Helper()
	_, err := orisunpb.NewEventStoreClient(dial(t, server.address)).
		Ping(metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", token), &orisunpb.PingRequest{})
	return err
}
