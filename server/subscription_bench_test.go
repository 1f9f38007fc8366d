package server

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// BenchmarkLiveDelivery measures how long after a save's answer its event is at a subscriber, over gRPC both ways. An
// event that comes before the answer counts as zero.
func BenchmarkLiveDelivery(b *testing.B) {
	n := newNode(b, pgtest.Clone(b))
	client := n.client()
	stream, err := n.client().CatchUpSubscribeToEvents(b.Context(),
		&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: eventtest.Boundary})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		b.Fatal(err)
	}
	arrivals := make(chan time.Time, 1)
	go func() {
		defer close(arrivals)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
			arrivals <- time.Now()
		}
	}()
	eventtest.Save(b, client, "warm", 0, 1)
	<-arrivals

	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		eventtest.Save(b, client, "w", i, 1)
		answered := time.Now()
		took = append(took, max(0, (<-arrivals).Sub(answered)))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkCatchUp reads 50,000 stored events of 300 bytes as a subscriber does, beside COPY of the same rows to the
// same process.
func BenchmarkCatchUp(b *testing.B) {
	const events = 50_000
	n := newNode(b, pgtest.Clone(b))
	_, err := n.pool.Exec(b.Context(),
		`INSERT INTO public.`+eventtest.Boundary+`_orisun_es_event (event_id, event_type, data)
		SELECT gen_random_uuid()::text, 'OrderPlaced', jsonb_build_object('order', i, 'customer', md5(i::text),
		       'lines', jsonb_build_array(i, 'some text', 12.50), 'pad', repeat('x', 120))
		  FROM generate_series(1, $1) i`, events)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := n.pool.Exec(b.Context(), `VACUUM ANALYZE public.`+eventtest.Boundary+`_orisun_es_event`); err != nil {
		b.Fatal(err)
	}
	for at := int64(-1); at < events-1; { // what the publisher takes is another benchmark's matter
		published, err := db.New().GetPublishedPosition(b.Context(), n.pool, eventtest.Boundary)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			b.Fatal(err)
		}
		at = published.GlobalID
	}
	client := n.client()
	var copying, reading time.Duration
	for b.Loop() {
		begun := time.Now()
		copyEvents(b, n)
		copying += time.Since(begun)
		begun = time.Now()
		catchUp(b, client, events)
		reading += time.Since(begun)
	}
	b.ReportMetric(float64(events*b.N)/reading.Seconds(), "events/s")
	b.ReportMetric(float64(events*b.N)/copying.Seconds(), "copied/s")
	b.ReportMetric(copying.Seconds()/reading.Seconds(), "of-COPY")
}

func copyEvents(b *testing.B, n *node) {
	b.Helper()
	conn, err := n.pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyTo(b.Context(), io.Discard,
		`COPY (SELECT global_id, transaction_id, date_created, event_id, event_type, data, metadata
		FROM public.`+eventtest.Boundary+`_orisun_es_event ORDER BY global_id) TO STDOUT`)
	if err != nil {
		b.Fatal(err)
	}
}

func catchUp(b *testing.B, client orisunpb.EventStoreClient, events int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	stream, err := client.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: eventtest.Boundary, AfterPosition: eventtest.Beginning,
	})
	for range events {
		if err == nil {
			_, err = stream.Recv()
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSaveBesideIdleSubscribers measures what a save costs while so many subscribers wait for something else, and
// what one of them takes in memory, client and server together, as both are in this process.
func BenchmarkSaveBesideIdleSubscribers(b *testing.B) {
	for _, subscribers := range []int{0, 1000} {
		b.Run(strconv.Itoa(subscribers), func(b *testing.B) {
			n := newNode(b, pgtest.Clone(b))
			client, subscribing := n.client(), n.client()
			eventtest.Save(b, client, "warm", 0, 1)
			before := memory()
			for range subscribers {
				stream, err := subscribing.CatchUpSubscribeToEvents(b.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: eventtest.Boundary, Query: eventtest.Where("writer", "stranger"),
				})
				if err == nil {
					_, err = stream.Header()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			grown := memory() - before
			for i := 0; b.Loop(); i++ {
				eventtest.Save(b, client, "w", i, 1)
			}
			if subscribers > 0 {
				b.ReportMetric(float64(grown)/float64(subscribers), "B/subscriber")
			}
		})
	}
}

// memory is what the heap and the stacks take.
func memory() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
