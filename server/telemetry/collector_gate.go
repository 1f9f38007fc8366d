package telemetry

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// collectorProbe is how often the gate checks for a listener at the endpoint while there is none.
	collectorProbe = 10 * time.Second
	// collectorWait is how long a check may take, and the sending of a batch of spans.
	collectorWait = 5 * time.Second
)

// collectorGate stands between the SDK and the collector. Without a collector nothing is sampled, so that nothing is
// recorded, queued or sent: tracing is enabled by default, and most machines have no collector. The gate is open from
// the moment that something listens at the endpoint until a batch of spans cannot be sent. The log has a line when
// spans begin to arrive and when they cease to.
type collectorGate struct {
	sdktrace.SpanExporter
	endpoint string
	every    time.Duration // between two probes
	log      *slog.Logger
	sampler  sdktrace.Sampler
	open     atomic.Bool
	logged   atomic.Int32 // the last state that was logged
}

const (
	loggedNothing = iota
	loggedAway
	loggedSending
)

func newCollectorGate(endpoint string, exporter sdktrace.SpanExporter, log *slog.Logger) *collectorGate {
	return &collectorGate{
		SpanExporter: exporter, endpoint: endpoint, every: collectorProbe, log: log,
		sampler: sdktrace.ParentBased(sdktrace.AlwaysSample()),
	}
}

// watch opens the gate when something listens at the endpoint, until ctx ends.
func (g *collectorGate) watch(ctx context.Context) {
	probe := time.NewTicker(g.every)
	defer probe.Stop()
	for {
		if !g.open.Load() {
			err := g.try(ctx)
			if err == nil {
				g.open.Store(true)
			} else if ctx.Err() == nil && g.change(loggedAway) {
				g.log.Info("no OpenTelemetry collector at ORISUN_OTEL_ENDPOINT; no traces until there is one",
					"endpoint", g.endpoint, "error", err)
			}
		}
		select {
		case <-probe.C:
		case <-ctx.Done():
			return
		}
	}
}

// change records the state to log, and reports whether it is new.
func (g *collectorGate) change(what int32) bool { return g.logged.Swap(what) != what }

func (g *collectorGate) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectorWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", g.endpoint)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ShouldSample follows the caller's decision. While the gate is open it also samples where the caller made no
// decision.
func (g *collectorGate) ShouldSample(of sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if !g.open.Load() {
		return sdktrace.SamplingResult{
			Decision: sdktrace.Drop, Tracestate: trace.SpanContextFromContext(of.ParentContext).TraceState(),
		}
	}
	return g.sampler.ShouldSample(of)
}

// Description names the sampler.
func (g *collectorGate) Description() string {
	return "ParentBased{AlwaysOn} while a collector listens"
}

// ExportSpans drops spans that cannot be sent, and closes the gate.
func (g *collectorGate) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, collectorWait)
	defer cancel()
	err := g.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err == nil:
		if g.change(loggedSending) {
			g.log.Info("sending traces", "endpoint", g.endpoint)
		}
	case g.open.Swap(false) && g.change(loggedAway):
		g.log.Warn("the OpenTelemetry collector does not take traces; trying again", "endpoint", g.endpoint, "every", g.every,
			"error", err)
	}
	return nil
}
