package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/jetstream"
	"github.com/oexza/orisun/server/version"
	"github.com/oexza/orisun/service"
)

// scope names what instruments the store.
const scope = "github.com/oexza/orisun"

// telemetry is OpenTelemetry's SDK as this process uses it: traces go to ORISUN_OTEL_ENDPOINT by OTLP while somebody takes them there, metrics
// are collected by Prometheus at /metrics, whether traces are enabled or not.
type telemetry struct {
	tracers  trace.TracerProvider
	tracing  func() bool // whether somebody takes traces
	meters   *sdkmetric.MeterProvider
	registry *prometheus.Registry
	pgx      *otelpgx.Tracer
	log      *slog.Logger
	end      func(context.Context) error
}

// startTelemetry needs nobody at the endpoint.
func startTelemetry(ctx context.Context, config config.OTEL, node string, log *slog.Logger) (*telemetry, error) {
	build := version.Read()
	about := resource.NewWithAttributes(semconv.SchemaURL,
		semconv.ServiceName(config.ServiceName), semconv.ServiceVersion(build.Version), semconv.ServiceInstanceID(node))
	t := &telemetry{tracers: noop.NewTracerProvider(), tracing: func() bool { return false }, registry: prometheus.NewRegistry(), log: log}
	if err := errors.Join(t.registry.Register(buildInfoMetric(build)), t.registry.Register(collectors.NewGoCollector()), t.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(about))
	t.end = t.meters.Shutdown
	if config.Enabled {
		if err := t.startTracing(ctx, config.Endpoint, about); err != nil {
			return nil, err
		}
	}
	t.pgx = otelpgx.NewTracer(otelpgx.WithTracerProvider(t.tracers), otelpgx.WithMeterProvider(t.meters),
		otelpgx.WithSpanNameFunc(queryName), otelpgx.WithQuerySpanNamePrefix(), otelpgx.WithDisableAcquireTracer(), otelpgx.WithDisableConnectionDetailsInAttributes())
	return t, nil
}

func (t *telemetry) startTracing(ctx context.Context, endpoint string, about *resource.Resource) error {
	// What fails is dropped, and the gate notices: a collector that is away gets what happens after its return.
	client, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		return fmt.Errorf("ORISUN_OTEL_ENDPOINT: %w", err)
	}
	gate := newCollectorGate(endpoint, client, t.log)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(gate), sdktrace.WithBatcher(gate), sdktrace.WithResource(about))
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		gate.watch(watching)
	}()
	t.tracers, t.tracing = tracers, gate.open.Load
	t.end = func(ctx context.Context) error {
		stop()
		<-watched
		return errors.Join(tracers.Shutdown(ctx), t.meters.Shutdown(ctx))
	}
	return nil
}

func (t *telemetry) tracer() trace.Tracer { return t.tracers.Tracer(scope) }
func (t *telemetry) meter() metric.Meter  { return t.meters.Meter(scope) }

// stop sends what spans are left, within the time to drain at most. That some are not sent is no failure of the server.
func (t *telemetry) stop(ctx context.Context) error {
	if err := t.end(ctx); err != nil {
		t.log.Warn("the last spans may not have been sent", "error", err)
	}
	return nil
}

// buildInfoMetric is 1, and its labels say what runs.
func buildInfoMetric(build version.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "orisun_build_info", Help: "1; the labels are this build's version, commit and date, and the version of Go",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "date": build.Date, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// watchNode measures whether PostgreSQL answers, as /readyz says it, and how much JetStream stores on this node.
func (t *telemetry) watchNode(ready *readiness, nats *jetstream.Server) error {
	up, upErr := t.meter().Int64ObservableGauge("orisun.postgresql.up", metric.WithDescription("1 while PostgreSQL answers this node, else 0; /readyz has the reason"))
	size, sizeErr := t.meter().Int64ObservableGauge("orisun.jetstream.size", metric.WithUnit("By"), metric.WithDescription("What JetStream stores on this node's disk"))
	messages, messagesErr := t.meter().Int64ObservableGauge("orisun.jetstream.messages", metric.WithUnit("{message}"), metric.WithDescription("Messages in this node's streams"))
	if err := errors.Join(upErr, sizeErr, messagesErr); err != nil {
		return err
	}
	_, err := t.meter().RegisterCallback(func(_ context.Context, to metric.Observer) error {
		answers := int64(0)
		if ready.vital.Load().Checks["postgresql"].OK {
			answers = 1
		}
		to.ObserveInt64(up, answers)
		bytes, count, err := nats.Stored()
		if err != nil {
			return err
		}
		to.ObserveInt64(size, int64(bytes))
		to.ObserveInt64(messages, int64(count))
		return nil
	}, up, size, messages)
	return err
}

// ofCalls measures and traces calls.
func (t *telemetry) ofCalls() (*callObserver, error) {
	return newCallObserver(t.tracer(), t.meter(), t.tracing)
}

// ofStore is what the store tells.
func (t *telemetry) ofStore(traced func(boundary string, transactionID int64, span trace.SpanContext)) service.Telemetry {
	return service.Telemetry{Tracer: t.tracer(), Meter: t.meter(), Traced: traced}
}

// traceQueries shows a pool's queries in the traces of those who ask.
func (t *telemetry) traceQueries(pool *pgxpool.Config) { pool.ConnConfig.Tracer = t.pgx }

// watchPool measures a pool's connections.
func (t *telemetry) watchPool(name string, pool *pgxpool.Pool) error {
	return otelpgx.RecordStats(pool, otelpgx.WithStatsMeterProvider(t.meters), otelpgx.WithMinimumReadDBStatsInterval(time.Second),
		otelpgx.WithStatsAttributes(semconv.DBSystemNamePostgreSQL, attribute.String("db.client.connection.pool.name", name)))
}

// queryName is the name that sqlc gave a query, or its first word.
func queryName(sql string) string {
	rest, named := strings.CutPrefix(sql, "-- name: ")
	if !named {
		rest = strings.TrimSpace(sql)
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}
