package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// Tracing is on by default: without a collector no span may be made, and the log may not fill.
func TestNothingIsSampledWithoutACollectorAndTheLogSaysSoOnce(t *testing.T) {
	endpoint := freeAddress(t)
	client, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	gate := newCollectorGate(endpoint, client, slog.New(slog.NewTextHandler(&log, nil)))
	gate.every = 5 * time.Millisecond
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(gate), sdktrace.WithSyncer(gate))
	samples := func() bool {
		_, span := tracers.Tracer("test").Start(t.Context(), "work")
		defer span.End() // which sends it
		return span.IsRecording()
	}
	watching, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		gate.watch(watching)
	}()
	count := func(text string) int { return strings.Count(log.String(), text) }

	eventually(t, func() bool { return count("no OpenTelemetry collector") == 1 })
	if samples() {
		t.Error("a span is recorded without a collector")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	receiver := &countingCollector{}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, receiver)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	eventually(t, func() bool { return samples() && receiver.spans.Load() > 0 })
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { return !samples() })
	eventually(t, func() bool { return count("does not take traces") == 1 })
	stop()
	<-ended
	if count("no OpenTelemetry collector") != 1 || count("sending traces") != 1 || count("does not take traces") != 1 {
		t.Errorf("not each logged once:\n%s", log.String())
	}
	if err := tracers.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// freeAddress is an address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// countingCollector is an OTLP receiver that counts what it gets.
type countingCollector struct {
	collectorpb.UnimplementedTraceServiceServer
	spans atomic.Int64
}

func (c *countingCollector) Export(
	_ context.Context, in *collectorpb.ExportTraceServiceRequest,
) (*collectorpb.ExportTraceServiceResponse, error) {
	c.spans.Add(int64(len(in.GetResourceSpans())))
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually returns when the condition holds, and fails the test when it does not within a minute.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if condition() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the condition does not come to hold")
		}
	}
}
