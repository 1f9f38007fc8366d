package main

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

// Tracing is on by default: where nobody collects, no span may be made, and no log filled.
func TestNothingIsSampledWhileNobodyCollectsAndTheLogTellsOnce(t *testing.T) {
	port := freePort(t)
	endpoint := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	client, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		t.Fatal(err)
	}
	var log output
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
	told := func(text string) int { return strings.Count(log.String(), text) }

	waitFor(t, func() bool { return told("no OpenTelemetry collector") == 1 })
	if samples() {
		t.Error("a span is recorded though nobody collects")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	receiver := &collector{}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, receiver)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	waitFor(t, func() bool { return samples() && len(receiver.all()) > 0 })
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return !samples() })
	waitFor(t, func() bool { return told("does not take traces") == 1 })
	stop()
	<-ended
	if told("no OpenTelemetry collector") != 1 || told("sending traces") != 1 || told("does not take traces") != 1 {
		t.Errorf("not each told once:\n%s", log.String())
	}
	if err := tracers.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
