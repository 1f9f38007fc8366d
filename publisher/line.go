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

	// askEvery and askBytes are how many messages, and bytes of them, share an acknowledgement at most: a sixteenth and an eighth of what may be in flight, so
	// that JetStream always has more to do while one is under way.
	askEvery = 64
	askBytes = 1 << 20

	// ackLimit is when an acknowledgement counts as lost.
	ackLimit = 5 * time.Second

	// goneAfter is how long an acknowledgement may take before the line looks whether the stream is still there. NATS does not report it: the feeds
	// hear what is published, so that it has somebody who takes it.
	goneAfter = 250 * time.Millisecond
)

// line is the pipeline into a stream, from the moment its end was looked up. Each message names the sequence that the stream's last message
// must have, and each but the first the id of that message, so that JetStream refuses it, and all after it, when anything was lost or got in
// between. Neither would do alone: after a foreign message that took the place of the first one, the second one's sequence fits; and where
// the last messages were deleted, their ids are still the last ones that JetStream knows.
//
// So an acknowledgement covers all messages before it, too, and is asked for with the last of some: with the last of a page, and with the first of the line, since
// JetStream says why it does not take that one, and of those after it only that it did not take the one before. In a stream with copies messages name the
// sequence alone (see fence): there a foreign one in the place of one of ours would fit before the next, so each is asked for.
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
	last     flight // no acknowledgement of it is asked for yet
	count    int    // of the messages in flight
	bytes    int    // of them
	look     *time.Timer
	broken   error // why nothing more can be sent: the stream's end has to be looked up again
}

// flight is messages that share one acknowledgement, that of the last one.
type flight struct {
	at       position // of the last one
	sequence uint64   // that it will have in the stream
	count    int
	bytes    int
	spans    []trace.Span // of those that somebody samples
	ack      jetstream.PubAckFuture
}

func (f *flight) published(err error) {
	for _, span := range f.spans {
		published(span, err)
	}
}

func newLine(held context.Context, js jetstream.JetStream, o *outbox, end streamEnd) *line {
	return &line{
		js: js, boundary: o.boundary, source: o.source,
		limit: messageLimit(o.config.NATS.MaxPayload(), o.config.Stream.MaxBytes), held: held,
		copied: o.config.Stream.Replicas > 1, traces: &o.traces, tracer: o.config.Tracer,
		look:  time.NewTimer(goneAfter),
		taken: end.at, sent: end.at, sequence: end.sequence, settled: end.at,
	}
}

// send publishes an event after the last one, and asks for an acknowledgement if it has to. It waits only while too much is in flight.
func (l *line) send(event *orisunpb.Event, ask bool) error {
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
	f := &l.last
	ask = ask || l.copied || l.sent == l.taken || f.count+1 >= askEvery || f.bytes+size >= askBytes
	l.fence(message.Header)
	var err error
	if ask {
		f.ack, err = l.js.PublishMsgAsync(message, jetstream.WithRetryAttempts(0))
	} else {
		err = l.js.Conn().PublishMsg(message)
	}
	if err != nil {
		l.broken = fmt.Errorf("publish event %d: %w", event.GetPosition().GetGlobalId(), err)
		published(span, err)
		return l.broken
	}
	l.sent = positionOf(event.GetPosition())
	l.sequence++
	l.count++
	l.bytes += size
	f.at, f.sequence = l.sent, l.sequence
	f.count++
	f.bytes += size
	if span != nil {
		f.spans = append(f.spans, span)
	}
	if ask {
		l.flights = append(l.flights, *f)
		*f = flight{}
	}
	return nil
}

// settle waits for acknowledgements, the oldest first, until at most so many bytes, and less than maxInFlight messages, are in flight;
// 0 waits for all that were asked for. When it fails once, the line is broken.
func (l *line) settle(bytes int) error {
	if l.held.Err() != nil && l.broken == nil {
		l.broken = context.Cause(l.held)
	}
	for l.broken == nil && len(l.flights) > 0 && (l.bytes > bytes || l.count >= maxInFlight) {
		oldest := l.flights[0]
		err := l.await(oldest)
		oldest.published(err)
		if err != nil {
			l.broken = fmt.Errorf("publish up to event %d: %w", oldest.at.globalID, err)
			break
		}
		l.settled = oldest.at
		l.count -= oldest.count
		l.bytes -= oldest.bytes
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
