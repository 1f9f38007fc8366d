// Package telemetry sets up traces and metrics by OpenTelemetry, and measures calls.
package telemetry

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
	"github.com/oexza/orisun/server/version"
	"github.com/oexza/orisun/service"
)

// scope is the name of the instruments.
const scope = "github.com/oexza/orisun"

// Telemetry is OpenTelemetry's SDK as this process uses it. Traces go to ORISUN_OTEL_ENDPOINT by OTLP while a
// collector receives them there. Prometheus collects metrics at /metrics, whether traces are enabled or not.
type Telemetry struct {
	tracers trace.TracerProvider
	tracing func() bool // reports whether a collector receives traces
	meters  *sdkmetric.MeterProvider
	queries *sdkmetric.MeterProvider
	// Memory has the metrics that cost PostgreSQL nothing. Queried has those that query it when they are collected.
	Memory, Queried *prometheus.Registry
	pgx             *otelpgx.Tracer
	log             *slog.Logger
	end             func(context.Context) error
}

// Start needs no listener at the endpoint.
func Start(ctx context.Context, config config.OTEL, node string, log *slog.Logger) (*Telemetry, error) {
	build := version.Read()
	about := resource.NewWithAttributes(semconv.SchemaURL,
		semconv.ServiceName(config.ServiceName), semconv.ServiceVersion(build.Version), semconv.ServiceInstanceID(node))
	t := &Telemetry{
		tracers: noop.NewTracerProvider(), tracing: func() bool { return false },
		Memory: prometheus.NewRegistry(), Queried: prometheus.NewRegistry(), log: log,
	}
	if err := errors.Join(t.Memory.Register(buildInfoMetric(build)), t.Memory.Register(collectors.NewGoCollector()),
		t.Memory.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	memory, memoryErr := otelprometheus.New(otelprometheus.WithRegisterer(t.Memory), otelprometheus.WithoutScopeInfo())
	queried, queriedErr := otelprometheus.New(otelprometheus.WithRegisterer(t.Queried), otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo()) // Memory has it
	if err := errors.Join(memoryErr, queriedErr); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(memory), sdkmetric.WithResource(about))
	t.queries = sdkmetric.NewMeterProvider(sdkmetric.WithReader(queried), sdkmetric.WithResource(about))
	t.end = t.endMetrics
	if config.Enabled {
		if err := t.startTracing(ctx, config.Endpoint, about); err != nil {
			return nil, err
		}
	}
	t.pgx = otelpgx.NewTracer(otelpgx.WithTracerProvider(t.tracers), otelpgx.WithMeterProvider(t.meters),
		otelpgx.WithSpanNameFunc(queryName), otelpgx.WithQuerySpanNamePrefix(), otelpgx.WithDisableAcquireTracer(),
		otelpgx.WithDisableConnectionDetailsInAttributes())
	return t, nil
}

func (t *Telemetry) startTracing(ctx context.Context, endpoint string, about *resource.Resource) error {
	// Spans that fail are dropped, and the gate notices: a collector that was away gets the spans after its return.
	client, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		return fmt.Errorf("ORISUN_OTEL_ENDPOINT: %w", err)
	}
	gate := newCollectorGate(endpoint, client, t.log)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(gate), sdktrace.WithBatcher(gate),
		sdktrace.WithResource(about))
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
		return errors.Join(tracers.Shutdown(ctx), t.endMetrics(ctx))
	}
	return nil
}

func (t *Telemetry) endMetrics(ctx context.Context) error {
	return errors.Join(t.meters.Shutdown(ctx), t.queries.Shutdown(ctx))
}

// Metrics are those of Memory and Queried.
func (t *Telemetry) Metrics() prometheus.Gatherer { return prometheus.Gatherers{t.Memory, t.Queried} }

// Tracer creates the spans of this process.
func (t *Telemetry) Tracer() trace.Tracer { return t.tracers.Tracer(scope) }

// Meter creates its instruments, which measure without queries.
func (t *Telemetry) Meter() metric.Meter { return t.meters.Meter(scope) }

// QueryMeter creates instruments that query PostgreSQL when they are collected.
func (t *Telemetry) QueryMeter() metric.Meter { return t.queries.Meter(scope) }

// Stop sends the remaining spans, within the time to drain at most. Unsent spans are no failure of the server.
func (t *Telemetry) Stop(ctx context.Context) error {
	if err := t.end(ctx); err != nil {
		t.log.Warn("the last spans may not have been sent", "error", err)
	}
	return nil
}

// buildInfoMetric is 1, and its labels say what runs.
func buildInfoMetric(build version.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "orisun_build_info", Help: "1; the labels are this build's version, commit and date, and the version of Go",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "commit": build.Commit, "date": build.Date, "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}

// WatchNode measures whether PostgreSQL answers, as /readyz reports it, and how much JetStream stores on this node.
func (t *Telemetry) WatchNode(postgreSQLAnswers func() bool, stored func() (bytes, messages uint64, err error)) error {
	up, upErr := t.Meter().Int64ObservableGauge("orisun.postgresql.up",
		metric.WithDescription("1 while PostgreSQL answers this node, else 0; /readyz has the reason"))
	size, sizeErr := t.Meter().Int64ObservableGauge("orisun.jetstream.size", metric.WithUnit("By"),
		metric.WithDescription("What JetStream stores on this node's disk"))
	messages, messagesErr := t.Meter().Int64ObservableGauge("orisun.jetstream.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages in this node's streams"))
	if err := errors.Join(upErr, sizeErr, messagesErr); err != nil {
		return err
	}
	_, err := t.Meter().RegisterCallback(func(_ context.Context, to metric.Observer) error {
		answers := int64(0)
		if postgreSQLAnswers() {
			answers = 1
		}
		to.ObserveInt64(up, answers)
		bytes, count, err := stored()
		if err != nil {
			return err
		}
		to.ObserveInt64(size, int64(bytes))
		to.ObserveInt64(messages, int64(count))
		return nil
	}, up, size, messages)
	return err
}

// OfCalls measures and traces calls.
func (t *Telemetry) OfCalls() (*CallObserver, error) {
	return NewCallObserver(t.Tracer(), t.Meter(), t.tracing)
}

// OfStore returns the instruments of the store.
func (t *Telemetry) OfStore(
	traced func(boundary string, transactionID int64, span trace.SpanContext),
) service.Telemetry {
	return service.Telemetry{Tracer: t.Tracer(), Meter: t.Meter(), Traced: traced}
}

// TraceQueries adds a pool's queries to the traces of their callers.
func (t *Telemetry) TraceQueries(pool *pgxpool.Config) { pool.ConnConfig.Tracer = t.pgx }

// WatchPool measures a pool's connections.
func (t *Telemetry) WatchPool(name string, pool *pgxpool.Pool) error {
	return otelpgx.RecordStats(pool, otelpgx.WithStatsMeterProvider(t.meters),
		otelpgx.WithMinimumReadDBStatsInterval(time.Second),
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
