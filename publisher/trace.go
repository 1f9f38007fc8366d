package publisher

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	orisunpb "github.com/oexza/orisun/proto"
)

// A trace goes on from the save to its delivery through the header ce-traceparent, the CloudEvents extension for
// distributed tracing. The database knows nothing of it, since an event's metadata is its author's: the node that saved
// caches the trace of a sampled save for a moment, under the save's transaction_id, and notifies the other nodes when
// one of them publishes. It is a best effort: an event that was published before the trace was known, or is read from
// PostgreSQL, is delivered all the same, and its trace ends with the save.
const (
	headerTraceParent = "ce-traceparent"

	// tracePrefix, the store and a boundary make the subject on which a node sends a trace to the publishing one.
	tracePrefix = "orisun.traces."

	// maxTraces is how many saves of a boundary are cached: more than are published in the moment between a commit and
	// its publication.
	maxTraces = 4096

	// maxTracedDeliveries bounds the spans of an event that a thousand subscribers get.
	maxTracedDeliveries = 8
)

const (
	boundaryKey = attribute.Key("orisun.boundary")
	globalIDKey = attribute.Key("orisun.global_id")
)

func orNoTracer(tracer trace.Tracer) trace.Tracer {
	if tracer == nil {
		return noop.NewTracerProvider().Tracer("")
	}
	return tracer
}

// traces are the latest sampled saves of a boundary. Its methods are safe for concurrent use.
type traces struct {
	any atomic.Bool // so that looking costs nothing without sampling

	mu    sync.Mutex
	spans map[int64]trace.SpanContext
	order []int64 // the keys, as a ring once it is full
	next  int
}

// add notes the span of the save with this transaction_id.
func (t *traces) add(transactionID int64, span trace.SpanContext) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spans == nil {
		t.spans = make(map[int64]trace.SpanContext)
	}
	if len(t.order) < maxTraces {
		t.order = append(t.order, transactionID)
	} else {
		delete(t.spans, t.order[t.next])
		t.order[t.next] = transactionID
		t.next = (t.next + 1) % maxTraces
	}
	t.spans[transactionID] = span
	t.any.Store(true)
}

// find is the span of a save; invalid where none is known.
func (t *traces) find(transactionID int64) trace.SpanContext {
	if !t.any.Load() {
		return trace.SpanContext{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spans[transactionID]
}

// Traced reports that a save, whose events have this transaction_id, was made in a trace that is sampled. It never
// blocks.
func (p *Publisher) Traced(boundary string, transactionID int64, span trace.SpanContext) {
	o := p.find(boundary)
	if o == nil {
		return
	}
	o.traces.add(transactionID, span)
	if o.look().Leads {
		return
	}
	text := strconv.FormatInt(transactionID, 10) + " " + traceParent(span)
	if err := p.config.NATS.Publish(boundarySubject(tracePrefix, p.config.StoreID, boundary), []byte(text)); err != nil {
		p.log.Debug("trace not sent to the publishing node", "boundary", boundary, "error", err)
	}
}

// hearTrace receives what Traced sends on another node.
func (p *Publisher) hearTrace(message *nats.Msg) {
	o := p.find(boundaryOf(message.Subject))
	number, parent, _ := strings.Cut(string(message.Data), " ")
	transactionID, err := strconv.ParseInt(number, 10, 64)
	if span := parseTraceParent(parent); o != nil && o.look().Leads && err == nil && span.IsValid() {
		o.traces.add(transactionID, span)
	}
}

// publishing begins the span of an event's publication, in the trace of its save, and puts it into the message. Both
// are no-ops where the save was not sampled.
func (p *pipeline) publishing(event *orisunpb.Event, message *nats.Msg) trace.Span {
	save := p.traces.find(event.GetPosition().GetTransactionId())
	if !save.IsValid() {
		return nil
	}
	_, span := p.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), save), "publish",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", message.Subject),
			attribute.String("cloudevents.event_id", event.GetEventId()),
			boundaryKey.String(p.boundary), globalIDKey.Int64(event.GetPosition().GetGlobalId()),
		))
	message.Header.Set(headerTraceParent, traceParent(span.SpanContext()))
	return span
}

// published ends the span of a publication.
func published(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// delivered is deliver, with a span in the trace of the event's save that links to the subscription, and ends when the
// client's stream has taken the event.
func (s *subscriber) delivered(ctx context.Context, e *entry) error {
	if e.published == nil || e.traced.Add(1) > maxTracedDeliveries {
		return s.deliver(e.event)
	}
	_, span := s.scan.feed.config.Tracer.Start(trace.ContextWithRemoteSpanContext(ctx, *e.published), "deliver",
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.LinkFromContext(ctx)),
		trace.WithAttributes(boundaryKey.String(s.scan.boundary), globalIDKey.Int64(e.at.globalID)))
	defer span.End()
	err := s.deliver(e.event)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	return err
}

// publishedIn is the span in which a message was published; nil where it does not say.
func publishedIn(header nats.Header) *trace.SpanContext {
	parent := header.Get(headerTraceParent)
	if parent == "" {
		return nil
	}
	if span := parseTraceParent(parent); span.IsSampled() {
		return &span
	}
	return nil
}

// traceParent writes a span as W3C's Trace Context does.
func traceParent(span trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span), carrier)
	return carrier.Get("traceparent")
}

// parseTraceParent is an invalid span where text is none.
func parseTraceParent(text string) trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(),
		propagation.MapCarrier{"traceparent": text}))
}
