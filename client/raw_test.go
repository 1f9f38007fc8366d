package client_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/oexza/orisun/client/internal/wire"
)

// rawCalls returns what a program without the client does for one decision: a page and a save, with a token.
func rawCalls(tb testing.TB, boundary string) func(account string) time.Duration {
	tb.Helper()
	conn, err := grpc.NewClient(shared.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Error(err)
		}
	})
	var header metadata.MD
	ctx := metadata.AppendToOutgoingContext(tb.Context(), "authorization", "Basic YWRtaW46Y2hhbmdlaXQ=")
	err = conn.Invoke(ctx, "/orisun.EventStore/Ping", &wire.PingRequest{}, &wire.PingResponse{}, grpc.Header(&header))
	if err != nil {
		tb.Fatal(err)
	}
	ctx = metadata.AppendToOutgoingContext(tb.Context(), "x-auth-token", header.Get("x-auth-token")[0])
	return func(account string) time.Duration {
		begun := time.Now()
		query := &wire.Query{Criteria: []*wire.Criterion{{Tags: []*wire.Tag{{Key: "account", Value: account}}}}}
		none := &wire.Position{TransactionId: -1, GlobalId: -1}
		err := conn.Invoke(ctx, "/orisun.EventStore/GetEvents",
			&wire.GetEventsRequest{Boundary: boundary, Query: query, AfterPosition: none, Count: 1000},
			&wire.GetEventsResponse{})
		if err != nil {
			tb.Fatal(err)
		}
		err = conn.Invoke(ctx, "/orisun.EventStore/SaveEvents", &wire.SaveEventsRequest{
			Boundary: boundary, Query: &wire.SaveQuery{ExpectedPosition: none, SubsetQuery: query},
			Events: []*wire.EventToSave{
				{EventId: "raw" + account, EventType: "Opened", Data: `{"account":"` + account + `","amount":1}`},
			},
		}, &wire.WriteResult{})
		if err != nil {
			tb.Fatal(err)
		}
		return time.Since(begun)
	}
}
