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
	// maxInFlight and maxBytesInFlight bound what is published and not yet acknowledged. An acknowledgement takes well
	// below a millisecond, so more would only take memory. A single message may be larger than maxBytesInFlight: it
	// goes alone.
	maxInFlight      = 1024
	maxBytesInFlight = 8 << 20

	// ackEvery and askBytes are how many messages, and bytes of them, share an acknowledgement at most: a sixteenth and
	// an eighth of what may be in flight, so that JetStream always has more to do while one is under way.
	ackEvery = 64
	ackBytes = 1 << 20

	// ackLimit is when an acknowledgement counts as lost.
	ackLimit = 5 * time.Second

	// lookAfter is how long an acknowledgement may take before the pipeline checks whether the stream is still there.
	// NATS does not report it: the feeds subscribe to what is published, so a publication always has a receiver.
	lookAfter = 250 * time.Millisecond
)

// pipeline is the pipeline into a stream, from the moment its end was looked up. Each message names the sequence that
// the stream's last message must have, and each but the first the id of that message, so that JetStream refuses it, and
// all after it, when anything was lost or got in between. Neither would do alone: after a foreign message that took the
// place of the first one, the second one's sequence fits; and where the last messages were deleted, their ids are still
// the last ones that JetStream knows.
//
// So an acknowledgement covers all messages before it, too, and is requested with the last of some: with the last of a
// page, and with the first of the pipeline, since JetStream says why it does not take that one, and of those after it
// only that it did not take the one before. In a stream with copies messages name the sequence alone (see fence): there
// a foreign one in the place of one of ours would fit before the next, so each is requested.
type pipeline struct {
	js       jetstream.JetStream
	boundary string
	source   string
	limit    int             // of a message
	copied   bool            // the stream has, or should have, copies on other nodes
	held     context.Context // ends with the lease: then nothing is sent or waited for any more
	traces   *traces
	tracer   trace.Tracer

	begin    position // of the event after which the pipeline begins
	sent     position // of the last event sent
	sequence uint64   // that it has, or will have, in the stream
	settled  position // of the last event acknowledged
	flights  []flight
	last     flight // no acknowledgement of it is requested yet
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
	spans    []trace.Span // of those that are sampled
	ack      jetstream.PubAckFuture
}

func (f *flight) published(err error) {
	for _, span := range f.spans {
		published(span, err)
	}
}

func newPipeline(held context.Context, js jetstream.JetStream, o *outbox, end streamEnd) *pipeline {
	return &pipeline{
		js: js, boundary: o.boundary, source: o.source,
		limit: messageLimit(o.config.NATS.MaxPayload(), o.config.Stream.MaxBytes), held: held,
		copied: o.config.Stream.Replicas > 1, traces: &o.traces, tracer: o.config.Tracer,
		look:  time.NewTimer(lookAfter),
		begin: end.at, sent: end.at, sequence: end.sequence, settled: end.at,
	}
}

// send publishes an event after the last one, and asks for an acknowledgement if it has to. It waits only while too
// much is in flight.
func (p *pipeline) send(event *orisunpb.Event, wantAck bool) error {
	message := Encode(p.boundary, p.source, event, p.sent.globalID)
	span := p.publishing(event, message)
	if size := sizeOf(message); size > p.limit || size-len(message.Data) > maxHeaderBytes {
		Truncate(message)
	}
	size := sizeOf(message)
	if err := p.settle(max(maxBytesInFlight-size, 0)); err != nil {
		published(span, err)
		return err
	}
	f := &p.last
	wantAck = wantAck || p.copied || p.sent == p.begin || f.count+1 >= ackEvery || f.bytes+size >= ackBytes
	p.fence(message.Header)
	var err error
	if wantAck {
		f.ack, err = p.js.PublishMsgAsync(message, jetstream.WithRetryAttempts(0))
	} else {
		err = p.js.Conn().PublishMsg(message)
	}
	if err != nil {
		p.broken = fmt.Errorf("publish event %d: %w", event.GetPosition().GetGlobalId(), err)
		published(span, err)
		return p.broken
	}
	p.sent = positionOf(event.GetPosition())
	p.sequence++
	p.count++
	p.bytes += size
	f.at, f.sequence = p.sent, p.sequence
	f.count++
	f.bytes += size
	if span != nil {
		f.spans = append(f.spans, span)
	}
	if wantAck {
		p.flights = append(p.flights, *f)
		*f = flight{}
	}
	return nil
}

// settle waits for acknowledgements, the oldest first, until at most so many bytes, and less than maxInFlight messages,
// are in flight; 0 waits for all that were requested. When it fails once, the pipeline is broken.
func (p *pipeline) settle(bytes int) error {
	if p.held.Err() != nil && p.broken == nil {
		p.broken = context.Cause(p.held)
	}
	for p.broken == nil && len(p.flights) > 0 && (p.bytes > bytes || p.count >= maxInFlight) {
		oldest := p.flights[0]
		err := p.await(oldest)
		oldest.published(err)
		if err != nil {
			p.broken = fmt.Errorf("publish up to event %d: %w", oldest.at.globalID, err)
			break
		}
		p.settled = oldest.at
		p.count -= oldest.count
		p.bytes -= oldest.bytes
		p.flights[0] = flight{}
		p.flights = p.flights[1:]
	}
	return p.broken
}

func (p *pipeline) await(f flight) error {
	p.look.Reset(lookAfter)
	for {
		select {
		case ack := <-f.ack.Ok():
			if ack.Duplicate || ack.Sequence != f.sequence {
				return fmt.Errorf("the stream has it as message %d (duplicate: %t), expected %d",
					ack.Sequence, ack.Duplicate, f.sequence)
			}
			return nil
		case err := <-f.ack.Err():
			return err // JetStream's, or that no answer came within ackLimit
		case <-p.look.C:
			if _, err := p.js.Stream(p.held, StreamName(p.boundary)); err != nil {
				return err
			}
			p.look.Reset(lookAfter)
		case <-p.held.Done():
			return context.Cause(p.held)
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
