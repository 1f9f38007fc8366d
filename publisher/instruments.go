package publisher

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/oexza/orisun/db"
)

// collectLimit is how long PostgreSQL may take to report how far the outboxes lag, all of them together.
const collectLimit = 2 * time.Second

// sourceKey says where a delivered event was read.
const sourceKey = attribute.Key("orisun.source")

func ofBoundary(boundary string, more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributes(append(more, boundaryKey.String(boundary))...)
}

// Instrument measures every boundary when metrics are collected: with memory whether this node publishes, with queries
// events and bytes in PostgreSQL, how many events wait to be published and for how long the oldest of them does.
func (p *Publisher) Instrument(memory, queries metric.Meter) error {
	return errors.Join(p.instrumentLeads(memory), p.instrumentStored(queries))
}

func (p *Publisher) instrumentLeads(meter metric.Meter) error {
	leads, err := meter.Int64ObservableGauge("orisun.outbox.leads",
		metric.WithDescription("1 where this node publishes the boundary"))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, o := range p.all() {
			leading := int64(0)
			if o.look().Leads {
				leading = 1
			}
			to.ObserveInt64(leads, leading, ofBoundary(o.boundary))
		}
		return nil
	}, leads)
	return err
}

func (p *Publisher) instrumentStored(meter metric.Meter) error {
	events, eventsErr := meter.Int64ObservableGauge("orisun.outbox.lag.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events that wait to be published, on any node"))
	age, ageErr := meter.Float64ObservableGauge("orisun.outbox.lag.duration", metric.WithUnit("s"),
		metric.WithDescription("How long the oldest event that waits to be published has waited"))
	stored, storedErr := meter.Int64ObservableGauge("orisun.boundary.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events in the boundary"))
	size, sizeErr := meter.Int64ObservableGauge("orisun.boundary.size", metric.WithUnit("By"),
		metric.WithDescription("What the boundary's event table takes on PostgreSQL's disk, with its indexes"))
	if err := errors.Join(eventsErr, ageErr, storedErr, sizeErr); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(ctx context.Context, to metric.Observer) (err error) {
		ctx, cancel := context.WithTimeout(ctx, collectLimit)
		defer cancel()
		for _, o := range p.all() {
			last, lastErr := db.New().GetLastPosition(ctx, o.config.Database, o.boundary)
			if lastErr != nil {
				err = errors.Join(err, lastErr)
				continue
			}
			bytes, sizeErr := db.New().GetBoundarySize(ctx, o.config.Database, o.boundary)
			lag, oldest, lagErr := o.lag(ctx, last.GlobalID)
			if failed := errors.Join(sizeErr, lagErr); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			of := ofBoundary(o.boundary)
			to.ObserveInt64(stored, last.GlobalID+1, of) // positions count from 0 without gaps
			to.ObserveInt64(size, bytes, of)
			to.ObserveInt64(events, lag, of)
			to.ObserveFloat64(age, oldest.Seconds(), of)
		}
		return err
	}, events, age, stored, size)
	return err
}

func (p *Publisher) all() []*outbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*outbox, 0, len(p.outboxes))
	for _, o := range p.outboxes {
		all = append(all, o)
	}
	return all
}

// lag is how many events through the global id last wait to be published, and since when the oldest of them does. Where
// this node publishes, what it knows counts; else the checkpoint, which is up to a tenth of a second behind.
func (o *outbox) lag(ctx context.Context, last int64) (events int64, age time.Duration, err error) {
	published, err := o.publishedPosition(ctx)
	if err != nil || last <= published.globalID {
		return 0, 0, err
	}
	waiting, err := db.New().GetMatchingEvents(ctx, o.config.Database, db.GetMatchingEventsParams{
		Boundary: o.boundary, Criteria: "[]", TransactionID: &published.transactionID,
		GlobalID: &published.globalID, Count: 1,
	})
	if err != nil || len(waiting) == 0 {
		return 0, 0, err
	}
	return last - published.globalID, max(time.Since(waiting[0].DateCreated), 0), nil
}

func (o *outbox) publishedPosition(ctx context.Context) (position, error) {
	if state := o.look(); state.Leads && state.Published != nil {
		return positionOf(state.Published), nil
	}
	published, err := db.New().GetPublishedPosition(ctx, o.config.Database, o.boundary)
	if errors.Is(err, pgx.ErrNoRows) {
		return beginning, nil
	}
	return position{published.TransactionID, published.GlobalID}, err
}

// feedCounts are a boundary's deliveries since the start.
type feedCounts struct{ ring, pages atomic.Int64 }

// Instrument has subscribers and deliveries counted whenever metrics are collected.
func (f *Feed) Instrument(meter metric.Meter) error {
	subscribers, subscribersErr := meter.Int64ObservableUpDownCounter("orisun.feed.subscribers",
		metric.WithUnit("{subscriber}"), metric.WithDescription("Subscriptions of this node"))
	deliveries, deliveriesErr := meter.Int64ObservableCounter("orisun.feed.deliveries", metric.WithUnit("{event}"),
		metric.WithDescription("Events delivered, by where they were read: in the ring of recent ones, or in PostgreSQL"))
	if err := errors.Join(subscribersErr, deliveriesErr); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for boundary, counts := range f.counts {
			here := 0
			if b := f.boundaries[boundary]; b != nil {
				here = b.subscribers
			}
			to.ObserveInt64(subscribers, int64(here), ofBoundary(boundary))
			to.ObserveInt64(deliveries, counts.ring.Load(), ofBoundary(boundary, sourceKey.String("ring")))
			to.ObserveInt64(deliveries, counts.pages.Load(), ofBoundary(boundary, sourceKey.String("postgresql")))
		}
		return nil
	}, subscribers, deliveries)
	return err
}
