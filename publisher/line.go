package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// maxInFlight and maxBytesInFlight bound what is published and not yet acknowledged. An acknowledgement takes well below a
	// millisecond, so more would only take memory. A single message may be larger than maxBytesInFlight: it goes alone.
	maxInFlight      = 1024
	maxBytesInFlight = 8 << 20

	// ackLimit is when an acknowledgement counts as lost.
	ackLimit = 5 * time.Second

	// goneAfter is how long an acknowledgement may take before the line looks whether the stream is still there. NATS does not tell: the feeds
	// hear what is published, so that it has somebody who takes it.
	goneAfter = 250 * time.Millisecond
)

// line is the pipeline into a stream, from the moment its end was looked up. Each message names the sequence that the stream's last message
// must have, and each but the first the id of that message, so that JetStream refuses it, and all after it, when anything was lost or got in
// between. Neither would do alone: after a foreign message that took the place of the first one, the second one's sequence fits; and where
// the last messages were deleted, their ids are still the last ones that JetStream knows.
type line struct {
	js       jetstream.JetStream
	boundary string
	source   string
	limit    int             // of a message
	copied   bool            // the stream has, or should have, copies on other nodes
	held     context.Context // ends with the lease: then nothing is sent or waited for any more
	traces   *traces
	tracer   trace.Tracer

	taken    position // of the event after which the line begins
	sent     position // of the last event sent
	sequence uint64   // that it has, or will have, in the stream
	settled  position // of the last event acknowledged
	flights  []flight
	bytes    int // of the flights
	look     *time.Timer
	broken   error // why nothing more can be sent: the stream's end has to be looked up again
}

// flight is a message that is not yet acknowledged.
type flight struct {
	at       position
	sequence uint64
	size     int
	ack      jetstream.PubAckFuture
	span     trace.Span // nil where nobody samples
}

func newLine(held context.Context, js jetstream.JetStream, o *outbox, end streamEnd) *line {
	return &line{
		js: js, boundary: o.boundary, source: o.config.Source + "/" + o.boundary,
		limit: messageLimit(o.config.NATS.MaxPayload(), o.config.Stream.MaxBytes), held: held,
		copied: o.config.Stream.Replicas > 1, traces: &o.traces, tracer: o.config.Tracer,
		look:  time.NewTimer(goneAfter),
		taken: end.at, sent: end.at, sequence: end.sequence, settled: end.at,
	}
}

// send publishes an event after the last one. It waits only while too much is in flight.
func (l *line) send(event *orisunpb.Event) error {
	message := Encode(l.boundary, l.source, event, l.sent.globalID)
	span := l.publishing(event, message)
	if size := sizeOf(message); size > l.limit || size-len(message.Data) > maxHeaderBytes {
		Truncate(message)
	}
	size := sizeOf(message)
	if err := l.settle(max(maxBytesInFlight-size, 0)); err != nil {
		published(span, err)
		return err
	}
	ack, err := l.js.PublishMsgAsync(message, append(l.fence(), jetstream.WithRetryAttempts(0))...)
	if err != nil {
		l.broken = fmt.Errorf("publish event %d: %w", event.GetPosition().GetGlobalId(), err)
		published(span, err)
		return l.broken
	}
	l.sent = positionOf(event.GetPosition())
	l.sequence++
	l.bytes += size
	l.flights = append(l.flights, flight{at: l.sent, sequence: l.sequence, size: size, ack: ack, span: span})
	return nil
}

// settle waits for acknowledgements, the oldest first, until at most so many bytes, and less than maxInFlight messages, are in flight;
// 0 waits for all. When it fails once, the line is broken.
func (l *line) settle(bytes int) error {
	if l.held.Err() != nil && l.broken == nil {
		l.broken = context.Cause(l.held)
	}
	for l.broken == nil && len(l.flights) > 0 && (l.bytes > bytes || len(l.flights) >= maxInFlight) {
		oldest := l.flights[0]
		err := l.await(oldest)
		published(oldest.span, err)
		if err != nil {
			l.broken = fmt.Errorf("publish event %d: %w", oldest.at.globalID, err)
			break
		}
		l.settled = oldest.at
		l.bytes -= oldest.size
		l.flights[0] = flight{}
		l.flights = l.flights[1:]
	}
	return l.broken
}

func (l *line) await(f flight) error {
	l.look.Reset(goneAfter)
	for {
		select {
		case ack := <-f.ack.Ok():
			if ack.Duplicate || ack.Sequence != f.sequence {
				return fmt.Errorf("the stream has it as message %d (duplicate: %t), expected %d", ack.Sequence, ack.Duplicate, f.sequence)
			}
			return nil
		case err := <-f.ack.Err():
			return err // JetStream's, or that no answer came within ackLimit
		case <-l.look.C:
			if _, err := l.js.Stream(l.held, StreamName(l.boundary)); err != nil {
				return err
			}
			l.look.Reset(goneAfter)
		case <-l.held.Done():
			return context.Cause(l.held)
		}
	}
}

// scanEvent reads a row of orisun.event.
func scanEvent(rows pgx.Rows) (*orisunpb.Event, error) {
	event := &orisunpb.Event{Position: &orisunpb.Position{}}
	var created time.Time
	err := rows.Scan(&event.Position.GlobalId, &event.Position.TransactionId, &created,
		&event.EventId, &event.EventType, &event.Data, &event.Metadata)
	event.DateCreated = timestamppb.New(created)
	return event, err
}
