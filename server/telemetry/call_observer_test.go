package telemetry

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const aTraceParent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

const observedMethod = "orisun.EventStore/SaveEvents"

var observedSave = &grpc.UnaryServerInfo{FullMethod: "/" + observedMethod}

func TestCallsAreMeasuredByMethodAndCode(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	observer := newTestObserver(t, reader, sdktrace.NewTracerProvider(), false)
	for _, err := range []error{
		nil, nil, status.Error(codes.AlreadyExists, ""), status.Error(codes.Internal, ""), status.Error(codes.Code(99), ""),
	} {
		if _, got := observer.Unary(t.Context(), nil, observedSave,
			func(context.Context, any) (any, error) { return nil, err }); !errors.Is(got, err) {
			t.Errorf("the call ended with %v, want %v", got, err)
		}
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	measured := all.ScopeMetrics[0].Metrics[0]
	if measured.Name != "rpc.server.call.duration" || measured.Unit != "s" {
		t.Errorf("calls are measured as %s in %s", measured.Name, measured.Unit)
	}
	counts := map[attribute.Distinct]uint64{}
	for _, point := range measured.Data.(metricdata.Histogram[float64]).DataPoints {
		counts[point.Attributes.Equivalent()] = point.Count
	}
	for _, want := range []struct {
		count uint64
		code  string
		fault bool
	}{{2, "OK", false}, {1, "ALREADY_EXISTS", false}, {1, "INTERNAL", true}, {1, "UNKNOWN", true}} {
		of := []attribute.KeyValue{
			attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", observedMethod),
			attribute.String("rpc.response.status_code", want.code),
		}
		if want.fault {
			of = append(of, attribute.String("error.type", want.code))
		}
		set := attribute.NewSet(of...)
		if got := counts[set.Equivalent()]; got != want.count {
			t.Errorf("%d calls ended with %s, want %d", got, want.code, want.count)
		}
	}
}

func TestACallWithoutATraceAllocatesNothing(t *testing.T) {
	observer := newTestObserver(t, sdkmetric.NewManualReader(), sdktrace.NewTracerProvider(), false)
	ctx, handler := t.Context(), func(context.Context, any) (any, error) { return observedSave, nil }
	if got := testing.AllocsPerRun(100, func() {
		if _, err := observer.Unary(ctx, nil, observedSave, handler); err != nil {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("a call allocates %v times", got)
	}
}

func TestTheCallersTraceIsKnownEvenWithoutACollector(t *testing.T) {
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", aTraceParent))
	for _, tracing := range []bool{false, true} {
		recorder := tracetest.NewSpanRecorder()
		observer := newTestObserver(t, sdkmetric.NewManualReader(),
			sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), tracing)
		var within trace.SpanContext
		_, err := observer.Unary(ctx, nil, observedSave, func(ctx context.Context, _ any) (any, error) {
			within = trace.SpanContextFromContext(ctx)
			return nil, status.Error(codes.Internal, "broken")
		})
		if status.Code(err) != codes.Internal {
			t.Fatal(err)
		}
		if within.TraceID().String() != aTraceParent[3:35] {
			t.Errorf("tracing %v: the call is in the trace %s", tracing, within.TraceID())
		}
		spans := recorder.Ended()
		if !tracing {
			if len(spans) != 0 {
				t.Errorf("spans were made without a collector: %v", spans)
			}
			continue
		}
		if len(spans) != 1 || spans[0].Name() != observedMethod || spans[0].SpanKind() != trace.SpanKindServer ||
			spans[0].Status().Description != "broken" ||
			spans[0].Parent().SpanID().String() != aTraceParent[36:52] {
			t.Errorf("the call is in the trace as %v", spans)
		}
	}
}

func newTestObserver(t *testing.T, reader sdkmetric.Reader, tracers trace.TracerProvider, tracing bool) *CallObserver {
	t.Helper()
	observer, err := NewCallObserver(tracers.Tracer(scope),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter(scope), func() bool { return tracing })
	if err != nil {
		t.Fatal(err)
	}
	return observer
}
