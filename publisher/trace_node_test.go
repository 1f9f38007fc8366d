package publisher_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/oexza/orisun/publisher"
)

// Most saves of a cluster are made on a node that does not publish them.
func TestATraceGoesOnWhereAnotherNodePublishes(t *testing.T) {
	w := newWorld(t)
	nodes := []*node{w.startNode(), w.startNode()}
	var standby *node
	eventually(t, "one of two publishes", func() (bool, error) {
		for i, n := range nodes {
			status, err := n.Status(boundary)
			if err != nil {
				return false, err
			}
			if status.Leads {
				standby = nodes[1-i]
			}
		}
		return standby != nil, nil
	})
	_, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "save")
	saved := int64(0)
	eventually(t, "an event has its trace", func() (bool, error) {
		standby.Traced(boundary, saved+1, span.SpanContext()) // an event alone in its save
		w.save(fmt.Sprintf("e%d", saved))
		standby.Hint(boundary)
		w.reaches(saved)
		saved++
		last, err := w.stream().GetLastMsgForSubject(t.Context(), publisher.Subjects(boundary))
		if err != nil {
			return false, err
		}
		return traceOf(last) == span.SpanContext().TraceID(), nil
	})
}

func traceOf(message *jetstream.RawStreamMsg) trace.TraceID {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{
		"traceparent": message.Header.Get("ce-traceparent"),
	})
	return trace.SpanContextFromContext(ctx).TraceID()
}
