package servertest_test

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestAServerAnswersAndLeavesNothingBehind(t *testing.T) {
	pgtest.Clone(t) // starts PostgreSQL, which ends with the binary
	leaked := goleak.IgnoreCurrent()
	t.Run("serves", func(t *testing.T) {
		server := servertest.Start(t, "ORISUN_NATS_SERVER_NAME=tested")
		store := orisunpb.NewEventStoreClient(server.Dial(t))
		saved, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1",
			Events:   []*orisunpb.EventToSave{{EventId: "1", EventType: "Opened", Data: `{"account":"a"}`}},
		})
		if err != nil || saved.GetLogPosition() == nil {
			t.Fatalf("%v, %v", saved, err)
		}
		info, err := store.GetServerInfo(t.Context(), &orisunpb.GetServerInfoRequest{})
		if err != nil || info.GetNodeId() != "tested" {
			t.Errorf("the server is %v, %v", info, err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.HTTP+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("/readyz answers %s, %v", answer.Status, err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	goleak.VerifyNone(t, leaked)
}

func TestServersOfOneTestHaveDatabasesOfTheirOwn(t *testing.T) {
	first, second := servertest.Start(t), servertest.Start(t)
	request := &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "1", EventType: "T", Data: `{}`}},
	}
	if _, err := orisunpb.NewEventStoreClient(first.Dial(t)).SaveEvents(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	page, err := orisunpb.NewEventStoreClient(second.Dial(t)).GetEvents(t.Context(),
		&orisunpb.GetEventsRequest{Boundary: "orisun_test_1"})
	if err != nil || len(page.GetEvents()) != 0 {
		t.Errorf("the second server has %v, %v", page.GetEvents(), err)
	}
}
