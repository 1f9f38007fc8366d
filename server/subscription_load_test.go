package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/eventtest"
)

// TestAThousandSubscriptionsLeaveNothingBehind opens and cancels them at random moments, some of them exclusive, while
// events come.
func TestAThousandSubscriptionsLeaveNothingBehind(t *testing.T) {
	const subscriptions, atOnce = 1000, 50
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	eventtest.Save(t, client, "w", 0, 500)
	warm := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		AfterPosition: eventtest.Beginning, SubscriberName: "warm",
	})
	warm.Reaches("w-499")
	warm.Stop()
	// What publishes a boundary stays, and is no leak. The publisher finds boundaries within a second.
	boundaries, err := db.New().ListBoundaries(t.Context(), n.pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boundaries {
		waitFor(t, func() bool {
			stream, err := n.js.Stream(t.Context(), publisher.StreamName(b.Name))
			return err == nil && stream.CachedInfo().State.LastSeq > 0
		})
	}
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
			request := &orisunpb.CatchUpSubscribeToEventStoreRequest{
				Boundary: eventtest.Boundary, AfterPosition: []*orisunpb.Position{nil, eventtest.Beginning}[i%2],
			}
			if i%5 == 0 {
				request.SubscriberName = fmt.Sprint(i % 3)
			}
			stream, err := client.CatchUpSubscribeToEvents(ctx, request)
			for err == nil {
				_, err = stream.Recv()
			}
			// A later one under the same name replaces it.
			if code := status.Code(err); code != codes.DeadlineExceeded &&
				(code != codes.Aborted || request.SubscriberName == "") {
				t.Errorf("a subscription ended with %v", err)
			}
		})
		if i%100 == 0 {
			eventtest.Save(t, client, "during", i, 3)
		}
	}
	running.Wait()
	// pgx closes the connection of a cancelled query, and the pool opens another one, in the background.
	goleak.VerifyNone(t, ignored,
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn/internal/bgreader.(*BGReader).bgRead"),
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn.(*PgConn).asyncClose.func1"))
	last := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		AfterPosition: eventtest.Beginning, SubscriberName: "warm",
	})
	last.Wants(eventtest.Stored(t, client, nil))
}

// TestAnOpenWriteTransactionDelaysNoSubscriber: neither in another database, nor in this one.
func TestAnOpenWriteTransactionDelaysNoSubscriber(t *testing.T) {
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
	all := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		AfterPosition: eventtest.Beginning,
	})
	now := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Query: eventtest.Where("odd", "true"),
	})
	for i := range 20 {
		begun := time.Now()
		eventtest.Save(t, client, "w", 2*i, 2)
		all.Wants(eventtest.Stored(t, client, nil))
		now.Wants(eventtest.Stored(t, client, eventtest.Where("odd", "true")))
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
	for _, statement := range []string{
		"BEGIN", "CREATE TABLE public.foreign_work (n int)", "INSERT INTO public.foreign_work VALUES (1)",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}
