package publisher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// BenchmarkOutbox publishes stored events of about 300 bytes to an empty stream, as a new owner does, and then the very
// same messages with bare PublishAsync, which is the most that JetStream takes here. The ratio of the two rates is of
// one run, on one machine.
func BenchmarkOutbox(b *testing.B) {
	const events = 50_000
	w := newWorld(b)
	w.batch = 1000
	w.execute(`INSERT INTO orders_orisun_es_event (event_id, event_type, data, metadata)
		SELECT 'order-' || n, 'OrderPlaced', jsonb_build_object('order', n, 'customer', 'c' || n % 1000, 'note',
		  repeat('x', 230)), '{"by": "benchmark"}'
		  FROM generate_series(1, $1::integer) n`, events)
	log := w.stored()

	var outbox, bare time.Duration
	for b.Loop() {
		start := time.Now()
		n := w.startNode()
		w.reaches(events - 1)
		outbox += time.Since(start)
		n.stop()
		w.forget()

		bare += publishBare(b, w, log)
		w.forget()
	}
	rate := func(took time.Duration) float64 { return float64(events*b.N) / took.Seconds() }
	b.ReportMetric(rate(outbox), "events/s")
	b.ReportMetric(rate(bare), "bare/s")
	b.ReportMetric(rate(outbox)/rate(bare), "ratio")
}

// publishBare is how fast the messages of a log go into a stream of the same configuration, with as many in flight.
func publishBare(b *testing.B, w *world, log []*orisunpb.Event) time.Duration {
	b.Helper()
	js, err := jetstream.New(connect(b, w.nats), jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), w.config); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	acks := make([]jetstream.PubAckFuture, 0, len(log))
	previous := publisher.NoPrevious
	for _, event := range log {
		ack, err := js.PublishMsgAsync(publisher.Encode(boundary, "/orisun/"+boundary, event, previous),
			jetstream.WithStallWait(testTimeout))
		if err != nil {
			b.Fatal(err)
		}
		acks = append(acks, ack)
		previous = event.GetPosition().GetGlobalId()
	}
	<-js.PublishAsyncComplete()
	took := time.Since(start)
	for _, ack := range acks {
		select {
		case err := <-ack.Err():
			b.Fatal(err)
		default:
		}
	}
	return took
}

// forget makes the next owner begin at the beginning.
func (w *world) forget() {
	w.t.Helper()
	w.config = w.stream().CachedInfo().Config
	js, err := jetstream.New(connect(w.t, w.nats))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := js.DeleteStream(w.t.Context(), publisher.StreamName(boundary)); err != nil {
		w.t.Fatal(err)
	}
	w.moveCheckpoint(-1)
}

// BenchmarkLatency is how long a committed event takes from the hint to the stream, one at a time.
func BenchmarkLatency(b *testing.B) {
	w := newWorld(b)
	n := w.startNode()
	w.save("first")
	w.reaches(0)
	seen, err := connect(b, w.nats).SubscribeSync(publisher.Subjects(boundary))
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		w.save(fmt.Sprint(i))
		b.StartTimer()
		n.Hint(boundary)
		if _, err := seen.NextMsg(testTimeout); err != nil {
			b.Fatal(err)
		}
	}
}
