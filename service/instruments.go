package service

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// Telemetry is where the store reports measurements and traces. Nil fields are not used.
type Telemetry struct {
	Tracer trace.Tracer
	Meter  metric.Meter
	// Traced is called for each sampled save that was stored, soon after its commit: its events have this
	// transaction_id. It must not block.
	Traced func(boundary string, transactionID int64, span trace.SpanContext)
}

const (
	boundaryKey = attribute.Key("orisun.boundary")
	outcomeKey  = attribute.Key("orisun.outcome")
)

// outcomes are the possible outcomes of a save, each with its own count.
var outcomes = [...]string{outcomeSaved, outcomeRepeated, outcomeContextChanged, outcomeEventIDReused}

// instruments measure saves from the queue to the commit. Attributes are created once for a boundary, so that measuring
// allocates nothing. A boundary is measured from its first successful flush on: names that callers make up do not
// create time series.
type instruments struct {
	Telemetry
	known sync.Map // boundary → *measured

	saves, events, failures, retries metric.Int64Counter
	waited, took                     metric.Float64Histogram
	requests, flushedEvents          metric.Int64Histogram
}

// measured are the attributes of one boundary's measurements, in the form that the calls take.
type measured struct {
	observe  []metric.ObserveOption
	record   []metric.RecordOption
	add      []metric.AddOption
	outcomes [len(outcomes)][]metric.AddOption
}

// seconds are bounds for durations from a tenth of a millisecond to a restart of PostgreSQL.
var seconds = metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5,
	1, 2.5, 5, 10, 30, 60)

// powers are bounds for counts.
var powers = metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)

func newInstruments(telemetry Telemetry) (*instruments, error) {
	if telemetry.Tracer == nil {
		telemetry.Tracer = tracenoop.NewTracerProvider().Tracer("")
	}
	if telemetry.Meter == nil {
		telemetry.Meter = metricnoop.NewMeterProvider().Meter("")
	}
	i := &instruments{Telemetry: telemetry}
	var errs [8]error
	i.saves, errs[0] = i.Meter.Int64Counter("orisun.saves", metric.WithUnit("{save}"),
		metric.WithDescription("Saves that PostgreSQL decided on, by outcome; context_changed is a conflict"))
	i.events, errs[1] = i.Meter.Int64Counter("orisun.events.saved", metric.WithUnit("{event}"),
		metric.WithDescription("Events stored"))
	i.failures, errs[2] = i.Meter.Int64Counter("orisun.flush.failures", metric.WithUnit("{flush}"),
		metric.WithDescription("Flushes of which a save got an error for its answer"))
	i.retries, errs[3] = i.Meter.Int64Counter("orisun.flush.retries", metric.WithUnit("{flush}"),
		metric.WithDescription("Retried flushes: PostgreSQL was away, or refused one of the saves"))
	i.waited, errs[4] = i.Meter.Float64Histogram("orisun.queue.wait", metric.WithUnit("s"), seconds,
		metric.WithDescription("The longest time that a save of a flush was queued"))
	i.took, errs[5] = i.Meter.Float64Histogram("orisun.flush.duration", metric.WithUnit("s"), seconds,
		metric.WithDescription("From the first sending of a flush to its last answer"))
	i.requests, errs[6] = i.Meter.Int64Histogram("orisun.flush.saves", metric.WithUnit("{save}"), powers,
		metric.WithDescription("Saves of a flush"))
	i.flushedEvents, errs[7] = i.Meter.Int64Histogram("orisun.flush.events", metric.WithUnit("{event}"), powers,
		metric.WithDescription("Events of a flush"))
	return i, errors.Join(errs[:]...)
}

// watch observes the queue and the criteria without an index whenever metrics are collected.
func (i *instruments) watch(queued func() map[string]int, advice *adviser) error {
	_, depth := i.Meter.Int64ObservableGauge("orisun.queue.depth", metric.WithUnit("{save}"),
		metric.WithDescription("Saves that wait behind the flush in flight"),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			for boundary, n := range queued() {
				if of, found := i.known.Load(boundary); found {
					to.Observe(int64(n), of.(*measured).observe...)
				}
			}
			return nil
		}))
	_, shapes := i.Meter.Int64ObservableGauge("orisun.unindexed.shapes", metric.WithUnit("{shape}"),
		metric.WithDescription("Sets of keys in criteria that no index serves; orisun index advise names them"),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			for boundary, use := range advice.unindexed() {
				to.Observe(use.shapes, i.attributes(boundary).observe...)
			}
			return nil
		}))
	_, criteria := i.Meter.Int64ObservableCounter("orisun.unindexed.criteria", metric.WithUnit("{criterion}"),
		metric.WithDescription("Criteria that no index served, so that all events were read"),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			for boundary, use := range advice.unindexed() {
				to.Observe(use.criteria, i.attributes(boundary).observe...)
			}
			return nil
		}))
	return errors.Join(depth, shapes, criteria)
}

// attributes returns the attributes of a boundary that exists.
func (i *instruments) attributes(boundary string) *measured {
	if known, found := i.known.Load(boundary); found {
		return known.(*measured)
	}
	of := metric.WithAttributeSet(attribute.NewSet(boundaryKey.String(boundary)))
	m := &measured{observe: []metric.ObserveOption{of}, record: []metric.RecordOption{of}, add: []metric.AddOption{of}}
	for n, outcome := range outcomes {
		m.outcomes[n] = []metric.AddOption{
			metric.WithAttributeSet(attribute.NewSet(boundaryKey.String(boundary), outcomeKey.String(outcome))),
		}
	}
	known, _ := i.known.LoadOrStore(boundary, m)
	return known.(*measured)
}

// observe records a flush of groupcommit.
func (i *instruments) observe(flush groupcommit.Flush) {
	known, found := i.known.Load(flush.Key)
	if !found {
		return
	}
	m, ctx := known.(*measured), context.Background()
	i.waited.Record(ctx, flush.Waited.Seconds(), m.record...)
	i.took.Record(ctx, flush.Took.Seconds(), m.record...)
	i.requests.Record(ctx, int64(flush.Requests), m.record...)
	i.flushedEvents.Record(ctx, int64(flush.Items), m.record...)
	if flush.Retries > 0 {
		i.retries.Add(ctx, int64(flush.Retries), m.add...)
	}
	if flush.Err != nil {
		i.failures.Add(ctx, 1, m.add...)
	}
}

// counted returns flush with two additions: it counts the outcomes of saves, and reports traced saves.
func (i *instruments) counted(
	flush func(context.Context, string, []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error),
) func(context.Context, string, []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
	return func(ctx context.Context, boundary string, batch []*orisunpb.SaveEventsRequest) ([]db.OrisunSaveResult, error) {
		results, err := flush(ctx, boundary, batch)
		if err != nil || len(results) != len(batch) {
			return results, err
		}
		i.reportTraced(ctx, boundary, results)
		m := i.attributes(boundary)
		var counts [len(outcomes)]int64
		events := 0
		for n, result := range results {
			if outcome := slices.Index(outcomes[:], result.Outcome); outcome >= 0 {
				counts[outcome]++
			}
			if result.Outcome == outcomeSaved {
				events += len(batch[n].GetEvents())
			}
		}
		for n, count := range counts {
			if count > 0 {
				i.saves.Add(ctx, count, m.outcomes[n]...)
			}
		}
		i.events.Add(ctx, int64(events), m.add...)
		return results, nil
	}
}
