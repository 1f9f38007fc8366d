package telemetry

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/semconv/v1.40.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// CallObserver measures calls and traces them by OpenTelemetry's conventions for gRPC. It is a pair of interceptors,
// because most machines have no collector and calls should cost little there. otelgrpc, a stats handler, has gRPC
// copy headers and allocate an object at each of seven moments of a call, and hashes the attributes of every
// measurement. That was a seventh of the server's work on a save. Interceptors do not see the time in which a message
// is read and decoded, or calls of methods that do not exist.
type CallObserver struct {
	tracer   trace.Tracer
	tracing  func() bool // reports whether a collector receives traces
	duration metric.Float64Histogram
	methods  sync.Map // full method → *methodAttributes; as many as there are methods
}

// methodAttributes are those of a method's measurements, by the code that a call ended with. They are made once, so
// that measuring allocates nothing.
type methodAttributes [codes.Unauthenticated + 1][]metric.RecordOption

// callSeconds are bounds for rpc.server.call.duration. The bounds that OpenTelemetry advises begin at 5 ms, and most
// calls take less than one.
var callSeconds = metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25,
	.5, 1, 2.5, 5, 10)

// NewCallObserver measures nothing where there is no meter, and needs no tracer without a collector.
func NewCallObserver(tracer trace.Tracer, meter metric.Meter, tracing func() bool) (*CallObserver, error) {
	duration, err := rpcconv.NewServerCallDuration(meter, callSeconds)
	return &CallObserver{tracer: tracer, tracing: tracing, duration: duration.Inst()}, err
}

// Unary is an interceptor of unary calls.
func (o *CallObserver) Unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	start := time.Now()
	ctx, span := o.begin(ctx, info.FullMethod)
	response, err := handler(ctx, request)
	o.end(ctx, span, info.FullMethod, start, err)
	return response, err
}

// Stream is an interceptor of streams.
func (o *CallObserver) Stream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	start := time.Now()
	ctx, span := o.begin(stream.Context(), info.FullMethod)
	err := handler(service, &observedStream{stream, ctx})
	o.end(ctx, span, info.FullMethod, start, err)
	return err
}

// observedStream is a stream in its call's trace.
type observedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is the stream's, with the call's span.
func (s *observedStream) Context() context.Context { return s.ctx }

// begin continues the caller's trace, where W3C's traceparent names one. The span is nil while no collector receives
// it.
func (o *CallObserver) begin(ctx context.Context, method string) (context.Context, trace.Span) {
	if len(metadata.ValueFromIncomingContext(ctx, "traceparent")) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, incomingMetadata{ctx})
	}
	if !o.tracing() {
		return ctx, nil
	}
	name := strings.TrimPrefix(method, "/")
	ctx, span := o.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(name)))
	if from, known := peer.FromContext(ctx); known && span.IsRecording() {
		if at, listens := from.LocalAddr.(*net.TCPAddr); listens {
			span.SetAttributes(semconv.ServerAddress(at.IP.String()), semconv.ServerPort(at.Port))
		}
	}
	return ctx, span
}

func (o *CallObserver) end(ctx context.Context, span trace.Span, method string, start time.Time, err error) {
	result := status.Convert(err)
	ended := result.Code()
	if ended > codes.Unauthenticated {
		ended = codes.Unknown
	}
	o.duration.Record(ctx, time.Since(start).Seconds(), o.attributes(method)[ended]...)
	if span == nil {
		return
	}
	span.SetAttributes(semconv.RPCResponseStatusCode(codeName(ended)))
	if isServerFault(ended) {
		span.SetStatus(otelcodes.Error, result.Message())
	}
	span.End()
}

func (o *CallObserver) attributes(method string) *methodAttributes {
	if known, found := o.methods.Load(method); found {
		return known.(*methodAttributes)
	}
	made := new(methodAttributes)
	for n := range made {
		ended := codeName(codes.Code(n))
		attributes := []attribute.KeyValue{
			semconv.RPCSystemNameGRPC, semconv.RPCMethod(strings.TrimPrefix(method, "/")), semconv.RPCResponseStatusCode(ended),
		}
		if isServerFault(codes.Code(n)) {
			attributes = append(attributes, semconv.ErrorTypeKey.String(ended))
		}
		made[n] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	}
	known, _ := o.methods.LoadOrStore(method, made)
	return known.(*methodAttributes)
}

// isServerFault reports whether the conventions count a code as an error of a server.
func isServerFault(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// codeName is a code as gRPC's specification and the conventions write it: INVALID_ARGUMENT.
func codeName(of codes.Code) string { return code.Code(of).String() }

// incomingMetadata reads a call's metadata without copying it.
type incomingMetadata struct{ context.Context }

// Get is the first value, or empty.
func (m incomingMetadata) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(m, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set and Keys implement a carrier. They are never called.
func (incomingMetadata) Set(string, string) {}

// Keys returns nothing.
func (incomingMetadata) Keys() []string { return nil }
