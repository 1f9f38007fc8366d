package service

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// Three saves in one flush, the first of which is not sampled: the other two must find the flush, and the flush both of
// them.
func TestAFlushAndTheSavesInItAreLinked(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	traced := map[int64]trace.SpanContext{}
	i, err := newInstruments(Telemetry{
		Tracer: tracer,
		Traced: func(boundary string, transactionID int64, span trace.SpanContext) {
			if boundary != "orders" {
				t.Errorf("boundary %q", boundary)
			}
			traced[transactionID] = span
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	unsampled := t.Context()
	second, secondSpan := tracer.Start(t.Context(), "second")
	third, thirdSpan := tracer.Start(t.Context(), "third")
	came := time.Now()
	callers := iter.Seq2[context.Context, time.Time](func(yield func(context.Context, time.Time) bool) {
		for _, caller := range []context.Context{unsampled, second, third} {
			if !yield(caller, came) {
				return
			}
		}
	})
	ctx, end := i.trace(unsampled, "orders", callers)
	flush := i.counted(func(context.Context, string, []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
		return []db.OrisunSaveResult{
			{Outcome: outcomeSaved, TransactionID: 1},
			{Outcome: outcomeContextChanged, TransactionID: 1},
			{Outcome: outcomeSaved, TransactionID: 3},
		}, nil
	})
	if _, err := flush(ctx, "orders", make([]*orisunpb.SaveEventsRequest, 3)); err != nil {
		t.Fatal(err)
	}
	end(nil)

	if len(traced) != 1 || !traced[3].Equal(thirdSpan.SpanContext()) {
		t.Errorf("sampled: %v, want the third save alone", traced)
	}
	ended := map[string][]sdktrace.ReadOnlySpan{}
	for _, span := range recorder.Ended() {
		ended[span.Name()] = append(ended[span.Name()], span)
	}
	if len(ended["flush"]) != 1 || len(ended["queue"]) != 2 {
		t.Fatalf("spans %v", ended)
	}
	flushed := ended["flush"][0]
	if flushed.Parent().SpanID() != secondSpan.SpanContext().SpanID() || len(flushed.Links()) != 2 ||
		flushed.Links()[0].SpanContext.SpanID() != secondSpan.SpanContext().SpanID() ||
		flushed.Links()[1].SpanContext.SpanID() != thirdSpan.SpanContext().SpanID() {
		t.Errorf("the flush is in %v and links to %v", flushed.Parent(), flushed.Links())
	}
	for n, save := range []trace.Span{secondSpan, thirdSpan} {
		queue := ended["queue"][n]
		if queue.Parent().SpanID() != save.SpanContext().SpanID() || len(queue.Links()) != 1 ||
			queue.Links()[0].SpanContext.SpanID() != flushed.SpanContext().SpanID() {
			t.Errorf("queue %d is in %v and links to %v", n, queue.Parent(), queue.Links())
		}
		if !queue.StartTime().Equal(came) {
			t.Errorf("queue %d begins at %v, the save came at %v", n, queue.StartTime(), came)
		}
	}
}

func TestNothingIsTracedWithoutASampler(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	i, err := newInstruments(Telemetry{
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := i.trace(t.Context(), "orders", func(yield func(context.Context, time.Time) bool) {
		yield(t.Context(), time.Now())
	})
	end(nil)
	if ctx != t.Context() || len(recorder.Started()) != 0 {
		t.Errorf("spans %v", recorder.Started())
	}
}

func TestSavesAreCountedByOutcomeAndOnlyInBoundariesThatExist(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	i, err := newInstruments(Telemetry{Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")})
	if err != nil {
		t.Fatal(err)
	}
	queued := map[string]int{"orders": 7, "made_up": 3}
	advice := newAdviser(func(context.Context, string, []string) (bool, error) { return false, nil },
		slog.New(slog.DiscardHandler), time.Now)
	if err := i.watch(func() map[string]int { return queued }, advice); err != nil {
		t.Fatal(err)
	}
	results := []db.OrisunSaveResult{{Outcome: outcomeSaved}, {Outcome: outcomeContextChanged}, {Outcome: outcomeSaved}}
	batch := []*orisunpb.SaveEventsRequest{
		{Events: make([]*orisunpb.EventToSave, 2)},
		{Events: make([]*orisunpb.EventToSave, 1)},
		{Events: make([]*orisunpb.EventToSave, 3)},
	}
	flush := i.counted(func(context.Context, string, []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
		return results, nil
	})
	if _, err := flush(t.Context(), "orders", batch); err != nil {
		t.Fatal(err)
	}
	i.observe(groupcommit.Flush{
		Key: "orders", Requests: 3, Items: 6, Waited: time.Millisecond, Took: 2 * time.Millisecond, Retries: 1,
	})
	i.observe(groupcommit.Flush{Key: "made_up", Requests: 1, Err: context.Canceled})
	advice.note(t.Context(), "orders", []*orisunpb.Criterion{
		{Tags: []*orisunpb.Tag{{Key: "a"}}}, {Tags: []*orisunpb.Tag{{Key: "b"}}}, {Tags: []*orisunpb.Tag{{Key: "a"}}},
	})

	want := map[string]float64{
		"orisun.saves orders saved": 2, "orisun.saves orders context_changed": 1, "orisun.events.saved orders": 5,
		"orisun.flush.retries orders": 1, "orisun.queue.wait orders": 0.001, "orisun.flush.duration orders": 0.002,
		"orisun.flush.saves orders": 3, "orisun.flush.events orders": 6, "orisun.queue.depth orders": 7,
		"orisun.unindexed.shapes orders": 2, "orisun.unindexed.criteria orders": 3,
	}
	if got := collect(t, reader); !maps.Equal(got, want) {
		t.Errorf("collected\n%v\nwant\n%v", got, want)
	}
}

// Every save pays for the measuring.
func TestMeasuringAFlushAllocatesNothing(t *testing.T) {
	i, err := newInstruments(Telemetry{
		Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	i.attributes("orders")
	if n := testing.AllocsPerRun(100, func() {
		i.observe(groupcommit.Flush{Key: "orders", Requests: 3, Items: 6})
	}); n > 0 {
		t.Errorf("%v allocations for each flush", n)
	}
}

// collect is the sum or value of each time series, by its name and the values of its attributes.
func collect(t *testing.T, reader sdkmetric.Reader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	put := func(name string, of attribute.Set, value float64) {
		for _, kv := range of.ToSlice() {
			name += " " + kv.Value.AsString()
		}
		values[name] = value
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					put(m.Name, point.Attributes, float64(point.Value))
				}
			case metricdata.Gauge[int64]:
				for _, point := range data.DataPoints {
					put(m.Name, point.Attributes, float64(point.Value))
				}
			case metricdata.Gauge[float64]:
				for _, point := range data.DataPoints {
					put(m.Name, point.Attributes, point.Value)
				}
			case metricdata.Histogram[int64]:
				for _, point := range data.DataPoints {
					put(m.Name, point.Attributes, float64(point.Sum))
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					put(m.Name, point.Attributes, point.Sum)
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return values
}
