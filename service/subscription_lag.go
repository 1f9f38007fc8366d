package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/recent"
)

const (
	// lagInterval is the pause between two measurements: scrapes and probes cost PostgreSQL nothing. The pause is longer
	// where a measurement takes long, so that PostgreSQL spends at most 5 % of a processor on it, but not longer than
	// maxLagInterval.
	lagInterval    = 5 * time.Second
	maxLagInterval = 30 * time.Second
	lagPauseFactor = 20
	// lagTimeout is how long PostgreSQL may take to measure one boundary.
	lagTimeout = 5 * time.Second
	// maxLagSeries is how many subscriptions of all boundaries are in a node's metrics and in its history, those furthest
	// behind. The history of one takes 2.2 kB.
	maxLagSeries = 1000
	// maxLagWarnings is how many subscriptions are warned of one by one, those furthest behind.
	maxLagWarnings = 10
)

const subscriptionKey = attribute.Key("orisun.subscription")

// SubscriptionLag measures how far the durable subscriptions of all boundaries are behind, for metrics and readiness.
// Its methods are safe for concurrent use.
type SubscriptionLag struct {
	pool    *pgxpool.Pool
	warning time.Duration
	series  int // maxLagSeries, fewer in tests
	latest  atomic.Pointer[measuredLag]

	mu      sync.Mutex
	history map[lagKey]*recent.Series[lagSample] // at most series of them
}

type lagKey struct{ boundary, subscription string }

type lagSample struct {
	events  int64
	seconds float64
}

// measuredLag is the result of a measurement.
type measuredLag struct {
	furthest []subscriptionLag // the one furthest behind first
	omitted  int64             // how many subscriptions furthest does not have
	err      error             // why boundaries are missing
}

// subscriptionLag is the lag of the slowest partition, in events and in seconds.
type subscriptionLag struct {
	boundary, subscription string
	events                 int64
	seconds                float64
}

// NewSubscriptionLag returns one that warns of subscriptions that are further behind than warning; 0 is no warning.
func NewSubscriptionLag(pool *pgxpool.Pool, warning time.Duration) *SubscriptionLag {
	l := &SubscriptionLag{
		pool: pool, warning: warning, series: maxLagSeries, history: map[lagKey]*recent.Series[lagSample]{},
	}
	l.latest.Store(&measuredLag{})
	return l
}

// Run measures until ctx ends.
func (l *SubscriptionLag) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case began := <-pause.C:
			l.measure(ctx)
			pause.Reset(min(max(lagInterval, lagPauseFactor*time.Since(began)), maxLagInterval))
		}
	}
}

// measure replaces the latest measurement. A boundary that cannot be measured is missing from it: no value is better
// than an old one.
func (l *SubscriptionLag) measure(ctx context.Context) {
	var m measuredLag
	began := time.Now()
	boundaries, err := l.subscribed(ctx)
	m.err = err
	for _, boundary := range boundaries {
		if err := l.measureBoundary(ctx, boundary, &m); err != nil {
			m.err = errors.Join(m.err, fmt.Errorf("boundary %s: %w", boundary, err))
		}
	}
	slices.SortStableFunc(m.furthest, func(a, b subscriptionLag) int { return cmp.Compare(b.seconds, a.seconds) })
	if beyond := len(m.furthest) - l.series; beyond > 0 {
		m.furthest, m.omitted = m.furthest[:l.series], m.omitted+int64(beyond)
	}
	if ctx.Err() == nil {
		l.latest.Store(&m)
		l.record(began, m.furthest)
	}
}

// record adds a measurement to the history. A subscription that was not measured keeps its history for 15 minutes, or
// until another one needs the room.
func (l *SubscriptionLag) record(at time.Time, measured []subscriptionLag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	current := make(map[lagKey]bool, len(measured))
	for _, lag := range measured {
		key := lagKey{lag.boundary, lag.subscription}
		current[key] = true
		if l.history[key] == nil {
			l.history[key] = &recent.Series[lagSample]{}
		}
		l.history[key].Add(at, lagSample{lag.events, lag.seconds})
	}
	maps.DeleteFunc(l.history, func(_ lagKey, series *recent.Series[lagSample]) bool {
		return series.Ended(at)
	})
	for key := range l.history {
		if len(l.history) > l.series && !current[key] {
			delete(l.history, key)
		}
	}
}

// History returns the lag of a subscription in the last 15 minutes, the oldest first. Samples from before its creation
// are of a deleted subscription of the same name.
func (l *SubscriptionLag) History(
	boundary, subscription string, created time.Time,
) (samples []*orisunpb.SubscriptionLagSample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	series := l.history[lagKey{boundary, subscription}]
	if series == nil {
		return nil
	}
	for _, sample := range series.Since(time.Now()) {
		if sample.At().Before(created) {
			continue
		}
		samples = append(samples, &orisunpb.SubscriptionLagSample{
			MeasuredAt: timestamppb.New(sample.At()), Events: sample.Value.events, Seconds: sample.Value.seconds,
		})
	}
	return samples
}

func (l *SubscriptionLag) subscribed(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	return db.New().ListSubscribedBoundaries(ctx, l.pool)
}

func (l *SubscriptionLag) measureBoundary(ctx context.Context, boundary string, to *measuredLag) error {
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	rows, err := db.New().MeasureSubscriptionLag(ctx, l.pool,
		db.MeasureSubscriptionLagParams{Boundary: boundary, Count: int32(l.series)})
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, row := range rows {
		to.furthest = append(to.furthest, subscriptionLag{boundary, row.Subscription, row.Events, row.Seconds})
	}
	to.omitted += rows[0].Subscriptions - int64(len(rows))
	return nil
}

// Instrument reports the latest measurement whenever metrics are collected.
func (l *SubscriptionLag) Instrument(meter metric.Meter) error {
	events, eventsErr := meter.Int64ObservableGauge("orisun.subscription.lag.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events after the checkpoint of a durable subscription's slowest partition"))
	age, ageErr := meter.Float64ObservableGauge("orisun.subscription.lag.duration", metric.WithUnit("s"),
		metric.WithDescription("Age of the first event after the checkpoint of a durable subscription's slowest partition"))
	omitted, omittedErr := meter.Int64ObservableGauge("orisun.subscription.lag.omitted",
		metric.WithUnit("{subscription}"),
		metric.WithDescription("Durable subscriptions without metrics of their own: those that are least behind"))
	if err := errors.Join(eventsErr, ageErr, omittedErr); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		m := l.latest.Load()
		for _, lag := range m.furthest {
			of := metric.WithAttributes(boundaryKey.String(lag.boundary), subscriptionKey.String(lag.subscription))
			to.ObserveInt64(events, lag.events, of)
			to.ObserveFloat64(age, lag.seconds, of)
		}
		to.ObserveInt64(omitted, m.omitted)
		return nil
	}, events, age, omitted)
	return err
}

// Warn returns the subscriptions that are too far behind, and why the lag of some is unknown.
func (l *SubscriptionLag) Warn(context.Context) (warnings []string) {
	if l.warning == 0 {
		return nil
	}
	m := l.latest.Load()
	behind := 0
	for _, lag := range m.furthest {
		age := time.Duration(lag.seconds * float64(time.Second))
		if age <= l.warning {
			break
		}
		if behind++; behind <= maxLagWarnings {
			warnings = append(warnings, fmt.Sprintf("durable subscription %s of boundary %s is behind: the oldest of %d "+
				"events after its checkpoint was saved %s ago: see orisun subscription show %[2]s %[1]s",
				lag.subscription, lag.boundary, lag.events, age.Round(time.Second)))
		}
	}
	if more := behind - maxLagWarnings; more > 0 {
		warnings = append(warnings, fmt.Sprintf("%d more durable subscriptions are behind: "+
			"see orisun_subscription_lag_duration_seconds in /metrics", more))
	}
	if m.err != nil {
		warnings = append(warnings, "the lag of durable subscriptions is unknown: "+m.err.Error())
	}
	return warnings
}
