package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	orisunpb "github.com/oexza/orisun/proto"
)

// collector is an OTLP receiver that keeps what it gets.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (c *collector) Export(
	_ context.Context, in *collectorpb.ExportTraceServiceRequest,
) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range in.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func (c *collector) all() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// startCollector listens until the test ends.
func startCollector(t *testing.T, address string) (*collector, string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c, listener.Addr().String()
}

// story is the spans of one trace, by name.
type story map[string][]*tracepb.Span

func (c *collector) story(id trace.TraceID) story {
	found := story{}
	for _, span := range c.all() {
		if trace.TraceID(span.GetTraceId()) == id {
			found[span.GetName()] = append(found[span.GetName()], span)
		}
	}
	return found
}

func (s story) one(t *testing.T, name string) *tracepb.Span {
	t.Helper()
	if len(s[name]) != 1 {
		t.Fatalf("%d spans %q, want one, of\n%s", len(s[name]), name, s)
	}
	return s[name][0]
}

func (s story) String() string {
	var text strings.Builder
	for name, spans := range s {
		for _, span := range spans {
			fmt.Fprintf(&text, "%s %x in %x, %d links\n", name, span.GetSpanId(), span.GetParentSpanId(), len(span.GetLinks()))
		}
	}
	return text.String()
}

func linksTo(from, to *tracepb.Span) bool {
	return slices.ContainsFunc(from.GetLinks(), func(l *tracepb.Span_Link) bool {
		return string(l.GetSpanId()) == string(to.GetSpanId())
	})
}

const saveMethod = "orisun.EventStore/SaveEvents"

// aTrace is a caller's context that says so by traceparent, as an instrumented client does.
func aTrace(t *testing.T) (context.Context, trace.TraceID) {
	t.Helper()
	provider := sdktrace.NewTracerProvider()
	ctx, span := provider.Tracer("test").Start(t.Context(), "client")
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return metadata.AppendToOutgoingContext(t.Context(), "traceparent", carrier.Get("traceparent")),
		span.SpanContext().TraceID()
}

func TestATraceLeadsFromASaveToItsDelivery(t *testing.T) {
	receiver, endpoint := startCollector(t, "127.0.0.1:0")
	server := launchWith(t, "ORISUN_LOGGING_LEVEL=DEBUG", "ORISUN_OTEL_ENABLED=true",
		"ORISUN_OTEL_ENDPOINT="+endpoint)
	store := connect(t, server.address)
	subscription, err := store.CatchUpSubscribeToEvents(t.Context(),
		&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "orisun_test_1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subscription.Header(); err != nil {
		t.Fatal(err)
	}
	// The first saves may come before the server knows of the collector, and that an event is read for publication
	// before its trace is known is possible, if rare.
	var spans story
	var ids []trace.TraceID
	waitFor(t, func() bool {
		ctx, id := aTrace(t)
		ids = append(ids, id)
		saveTraced(ctx, t, store, fmt.Sprintf("e%d", len(ids)))
		if _, err := subscription.Recv(); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(ids, func(id trace.TraceID) bool {
			spans = receiver.story(id)
			return len(spans["deliver"]) > 0 && len(spans[saveMethod]) > 0
		})
	})
	call, queue, flush, query, publish, deliver := spans.one(t, saveMethod), spans.one(t, "queue"), spans.one(t, "flush"),
		spans.one(t, "query SaveRequests"), spans.one(t, "publish"), spans.one(t, "deliver")
	for child, parent := range map[*tracepb.Span]*tracepb.Span{
		queue: call, flush: call, query: flush, publish: call, deliver: publish,
	} {
		if string(child.GetParentSpanId()) != string(parent.GetSpanId()) {
			t.Errorf("%s is not in %s:\n%s", child.GetName(), parent.GetName(), spans)
		}
	}
	if !linksTo(queue, flush) || !linksTo(flush, call) {
		t.Errorf("queue and flush do not link to each other's spans:\n%s", spans)
	}
	if query.GetEndTimeUnixNano() > publish.GetEndTimeUnixNano() ||
		publish.GetStartTimeUnixNano() > deliver.GetStartTimeUnixNano() {
		t.Errorf("the spans are not in the order of what happens:\n%s", spans)
	}
	if id := trace.TraceID(call.GetTraceId()).String(); !strings.Contains(server.logged(), id) {
		t.Errorf("the log does not have the spans %s of a call", id)
	}
	if len(deliver.GetLinks()) != 1 {
		t.Errorf("the delivery does not link to its subscription:\n%s", spans)
	}
}

func saveTraced(ctx context.Context, t *testing.T, store orisunpb.EventStoreClient, id string) {
	t.Helper()
	_, err := store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{}`}},
	})
	if err != nil {
		t.Fatal(err)
	}
}
