package service_test

import (
	"context"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

const (
	boundary      = "bank"
	maxEventBytes = 1 << 20
	maxPageBytes  = 4 << 20
)

// dial serves an EventStore over a fresh database with one boundary, by gRPC on a port of its own.
func dial(t testing.TB) (orisunpb.EventStoreClient, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, boundary)
	server := grpc.NewServer()
	store := service.NewEventStore(service.Config{
		Write: pool, Read: pool, MaxPageBytes: maxPageBytes,
		MessageSize: func(boundary, id, kind string, data, metadata int) int {
			return len(boundary) + len(id) + len(kind) + data + metadata
		},
		MaxMessageBytes: maxEventBytes,
		Info:            &orisunpb.GetServerInfoResponse{},
	})
	orisunpb.RegisterEventStoreServer(server, store)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*maxPageBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return orisunpb.NewEventStoreClient(conn), pool
}

func event(id, data string) *orisunpb.EventToSave {
	return &orisunpb.EventToSave{EventId: id, EventType: "T", Data: data, Metadata: `{"by": "test"}`}
}

func tagged(pairs ...string) []*orisunpb.Criterion {
	criterion := &orisunpb.Criterion{}
	for i := 0; i < len(pairs); i += 2 {
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: pairs[i], Value: pairs[i+1]})
	}
	return []*orisunpb.Criterion{criterion}
}

func at(transactionID, globalID int64) *orisunpb.Position {
	return &orisunpb.Position{TransactionId: transactionID, GlobalId: globalID}
}
