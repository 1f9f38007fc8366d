package service

import (
	"context"
	"iter"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/oexza/orisun/db"
)

// sampledKey is the context key for the spans of a flush's callers, in the order of its batch.
type sampledKey struct{}

func untraced(error) {}

// trace adds a flush to the traces of its saves. Each sampled save gets a span "queue" and the flush one span "flush",
// which are linked to each other. The flush and its statements are part of the trace of the first sampled save. If no
// save is sampled, no span is created.
func (i *instruments) trace(
	ctx context.Context, boundary string, callers iter.Seq2[context.Context, time.Time],
) (context.Context, func(error)) {
	var spans []trace.SpanContext
	var links []trace.Link
	var parent trace.Span
	saves := 0
	for caller := range callers {
		saves++
		span := trace.SpanFromContext(caller)
		if !span.IsRecording() {
			continue
		}
		if parent == nil {
			parent = span
		}
		for len(spans) < saves-1 {
			spans = append(spans, trace.SpanContext{})
		}
		spans = append(spans, span.SpanContext())
		links = append(links, trace.Link{SpanContext: span.SpanContext()})
	}
	if parent == nil {
		return ctx, untraced
	}
	ctx, flush := i.Tracer.Start(trace.ContextWithSpan(ctx, parent), "flush", trace.WithLinks(links...),
		trace.WithAttributes(boundaryKey.String(boundary), attribute.Int("orisun.flush.saves", saves)))
	now := time.Now()
	back := trace.WithLinks(trace.Link{SpanContext: flush.SpanContext()})
	for caller, since := range callers {
		if trace.SpanFromContext(caller).IsRecording() {
			_, queue := i.Tracer.Start(caller, "queue", trace.WithTimestamp(since), back)
			queue.End(trace.WithTimestamp(now))
		}
	}
	return context.WithValue(ctx, sampledKey{}, spans), func(err error) {
		if err != nil {
			flush.RecordError(err)
			flush.SetStatus(codes.Error, "")
		}
		flush.End()
	}
}

// reportTraced reports the spans of the sampled saves that were stored.
func (i *instruments) reportTraced(ctx context.Context, boundary string, results []db.OrisunSaveResult) {
	spans, _ := ctx.Value(sampledKey{}).([]trace.SpanContext)
	if i.Traced == nil {
		return
	}
	for n, span := range spans {
		if span.IsSampled() && results[n].Outcome == outcomeSaved {
			i.Traced(boundary, results[n].TransactionID, span)
		}
	}
}
