package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// TestAClientThatStopsReadingCostsNobodyAnything opens a stream and reads nothing of it while 100,000 events of 1 KiB come.
func TestAClientThatStopsReadingCostsNobodyAnything(t *testing.T) {
	// The same load without that client comes first: it fills the ring, and what JetStream keeps of the writes of ten seconds.
	const without, events, perSave, limit = 60_000, 160_000, 500, 64 << 20
	n := newNode(t, pgtest.Clone(t))
	var stalled grpc.ServerStreamingClient[orisunpb.Event]
	fast := open(t, n.client())
	arrived := make(chan int, events/perSave)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(arrived)
		for i := range events {
			if !expect(t, fast, i) {
				return
			}
			if (i+1)%perSave == 0 {
				arrived <- i + 1
			}
		}
	})

	client := n.client()
	var before, most uint64 // bytes of the heap, at their most, without that client and with it
	data := `{"pad": "` + strings.Repeat("x", 1<<10-len(`{"pad": ""}`)) + `"}`
	for from := 0; from < events; from += perSave {
		request := &orisunpb.SaveEventsRequest{Boundary: followedBoundary}
		for i := range perSave {
			request.Events = append(request.Events, &orisunpb.EventToSave{EventId: fmt.Sprint(from + i), EventType: "T", Data: data, Metadata: "{}"})
		}
		if _, err := client.SaveEvents(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		select {
		case <-arrived: // the others do not notice
		case <-time.After(30 * time.Second):
			t.Fatalf("another subscriber waits for event %d", from+perSave)
		}
		switch {
		case from == without:
			stalled = open(t, n.client())
		case from%(10*perSave) != 0:
		case from < without:
			before = max(before, liveHeap())
		default:
			most = max(most, liveHeap())
		}
	}
	reading.Wait()
	most = max(most, liveHeap())
	t.Logf("the heap is %.1f MiB without the client, %.1f with it", float64(before)/(1<<20), float64(most)/(1<<20))
	if most > before+limit {
		t.Errorf("the heap grew by %d bytes, at most %d are allowed", most-before, limit)
	}
	for i := range events {
		if !expect(t, stalled, i) {
			return
		}
	}
}

func open(t *testing.T, client orisunpb.EventStoreClient) grpc.ServerStreamingClient[orisunpb.Event] {
	t.Helper()
	stream, err := client.CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: followedBoundary, AfterPosition: start})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func expect(t *testing.T, stream grpc.ServerStreamingClient[orisunpb.Event], globalID int) bool {
	t.Helper()
	event, err := stream.Recv()
	if err != nil || event.GetPosition().GetGlobalId() != int64(globalID) || event.GetEventId() != fmt.Sprint(globalID) {
		t.Errorf("event %d: %v, %v", globalID, event, err)
		return false
	}
	return true
}

func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestAThousandSubscriptionsLeaveNothingBehind opens and cancels them at random moments, some of them exclusive, while events come.
func TestAThousandSubscriptionsLeaveNothingBehind(t *testing.T) {
	const subscriptions, atOnce = 1000, 50
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	save(t, client, "w", 0, 500)
	warm := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start, SubscriberName: "warm"})
	warm.reaches("w-499")
	warm.stop()
	ignored := goleak.IgnoreCurrent()

	var running sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range subscriptions {
		places <- struct{}{}
		random := rand.New(rand.NewPCG(uint64(i), 0))
		running.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(30*time.Millisecond))))
			defer cancel()
			request := &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: followedBoundary, AfterPosition: []*orisunpb.Position{nil, start}[i%2]}
			if i%5 == 0 {
				request.SubscriberName = fmt.Sprint(i % 3)
			}
			stream, err := client.CatchUpSubscribeToEvents(ctx, request)
			for err == nil {
				_, err = stream.Recv()
			}
			if code := status.Code(err); code != codes.DeadlineExceeded {
				t.Errorf("a subscription ended with %v", err)
			}
		})
		if i%100 == 0 {
			save(t, client, "during", i, 3)
		}
	}
	running.Wait()
	// pgx closes the connection of a cancelled query, and the pool opens another one, in the background.
	goleak.VerifyNone(t, ignored,
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn/internal/bgreader.(*BGReader).bgRead"),
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn.(*PgConn).asyncClose.func1"))
	last := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start, SubscriberName: "warm"})
	last.wants(stored(t, client, nil))
}

// TestAnOpenWriteTransactionHoldsNobodyUp: neither in another database, nor in this one.
func TestAnOpenWriteTransactionHoldsNobodyUp(t *testing.T) {
	database := pgtest.Clone(t)
	n := newNode(t, database)
	for _, pool := range []string{"this database", "another database"} {
		config := database
		if pool == "another database" {
			config = pgtest.NewEmpty(t)
		}
		hold(t, config)
	}
	client := n.client()
	all := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start})
	now := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{Query: where("odd", "true")})
	for i := range 20 {
		begun := time.Now()
		save(t, client, "w", 2*i, 2)
		all.wants(stored(t, client, nil))
		now.wants(stored(t, client, where("odd", "true")))
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("save %d took %v to arrive", i, took)
		}
	}
}

// hold leaves a transaction open that has written, and has an id.
func hold(t *testing.T, config *pgx.ConnConfig) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, statement := range []string{"BEGIN", "CREATE TABLE public.foreign_work (n int)", "INSERT INTO public.foreign_work VALUES (1)"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}
