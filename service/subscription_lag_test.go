package service

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/oexza/orisun/migrations/pgtest"
)

// lagging is a database whose boundaries have durable subscriptions.
type lagging struct{ *pgxpool.Pool }

func newLagging(t *testing.T) lagging {
	t.Helper()
	db := lagging{pgtest.New(t)}
	pgtest.Boundary(t, db.Pool, "orisun_admin")
	return db
}

func (db lagging) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// boundary creates a boundary with two events, which were saved two hours and one hour ago, and subscriptions of four
// partitions that have acknowledged nothing.
func (db lagging) boundary(t *testing.T, name string, subscriptions ...string) {
	t.Helper()
	pgtest.Boundary(t, db.Pool, name)
	db.exec(t, `SELECT orisun.insert_events_with_consistency($1, '{}',
		'[{"event_id": "a", "event_type": "T", "data": {}}, {"event_id": "b", "event_type": "T", "data": {}}]')`, name)
	db.exec(t, fmt.Sprintf(`UPDATE %s_orisun_es_event SET date_created = now() - (2 - global_id) * interval '1 hour'`,
		name))
	for _, subscription := range subscriptions {
		db.exec(t, `SELECT orisun.create_subscription($1, $2, '[]', 'order', 4, 30000, 5, false, -1, -1, 1000,
			'orisun_admin', 'alice')`, name, subscription)
	}
}

// acknowledge moves the checkpoints of partitions.
func (db lagging) acknowledge(t *testing.T, boundary, subscription string, through int64, partitions ...int) {
	t.Helper()
	for _, partition := range partitions {
		db.exec(t, `SELECT orisun.save_checkpoints($1, ARRAY[$2], ARRAY[$3::integer], ARRAY[0::bigint], ARRAY[1::bigint],
			ARRAY[$4::bigint], ARRAY['{}'], ARRAY[-1::bigint], $4 + 1)`, boundary, subscription, partition, through)
	}
}

// measured are the series after a measurement. Seconds are whole hours.
func (l *SubscriptionLag) measured(t *testing.T) map[string]float64 {
	t.Helper()
	l.measure(t.Context())
	reader := sdkmetric.NewManualReader()
	if err := l.Instrument(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")); err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for name, value := range collect(t, reader) {
		name = strings.TrimPrefix(name, "orisun.subscription.lag.")
		if strings.HasPrefix(name, "duration") {
			value = float64(int(value / 3600))
		}
		series[name] = value
	}
	return series
}

func wantSeries(t *testing.T, got, want map[string]float64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("the series are %v, want %v", got, want)
	}
}

func TestTheLagOfASubscriptionIsThatOfItsSlowestPartition(t *testing.T) {
	db := newLagging(t)
	db.boundary(t, "orders", "mails")
	l := NewSubscriptionLag(db.Pool, 0)
	wantSeries(t, l.measured(t), map[string]float64{
		"events orders mails": 2, "duration orders mails": 2, "omitted": 0,
	})
	db.acknowledge(t, "orders", "mails", 1, 0, 1, 3)
	db.acknowledge(t, "orders", "mails", 0, 2)
	wantSeries(t, l.measured(t), map[string]float64{
		"events orders mails": 1, "duration orders mails": 1, "omitted": 0,
	})
	db.acknowledge(t, "orders", "mails", 1, 2)
	wantSeries(t, l.measured(t), map[string]float64{
		"events orders mails": 0, "duration orders mails": 0, "omitted": 0,
	})
	db.exec(t, `SELECT orisun.delete_subscription('orders', 'mails', 'orisun_admin', 'alice')`)
	wantSeries(t, l.measured(t), map[string]float64{"omitted": 0})
}

func TestMetricsHaveTheSubscriptionsThatAreFurthestBehind(t *testing.T) {
	db := newLagging(t)
	db.boundary(t, "orders", "a", "b", "c", "d")
	db.boundary(t, "bank", "e", "f")
	db.acknowledge(t, "orders", "a", 1, 0, 1, 2, 3)
	db.acknowledge(t, "orders", "b", 1, 0, 1, 2, 3)
	db.acknowledge(t, "orders", "c", 0, 0, 1, 2, 3)
	db.acknowledge(t, "bank", "e", 0, 0, 1, 2, 3)
	l := NewSubscriptionLag(db.Pool, 0)
	l.series = 2
	wantSeries(t, l.measured(t), map[string]float64{
		"events orders d": 2, "duration orders d": 2, "events bank f": 2, "duration bank f": 2, "omitted": 4,
	})
}

func TestReadinessWarnsOfSubscriptionsThatAreTooFarBehind(t *testing.T) {
	db := newLagging(t)
	db.boundary(t, "orders", "late", "later")
	db.acknowledge(t, "orders", "late", 0, 0, 1, 2, 3)
	for threshold, want := range map[time.Duration][]string{
		0:             nil,
		3 * time.Hour: nil,
		90 * time.Minute: {"durable subscription later of boundary orders is behind: the oldest of 2 events after its " +
			"checkpoint was saved 2h ago: see orisun subscription show orders later"},
	} {
		l := NewSubscriptionLag(db.Pool, threshold)
		l.measure(t.Context())
		var got []string
		for _, warning := range l.Warn(t.Context()) {
			got = append(got, regexp.MustCompile(`2h\d+m\d+s`).ReplaceAllString(warning, "2h"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("with %s the warnings are %q, want %q", threshold, got, want)
		}
	}
}

func TestReadinessWarnsOfManySubscriptionsInFewLines(t *testing.T) {
	db := newLagging(t)
	names := make([]string, maxLagWarnings+3)
	for i := range names {
		names[i] = fmt.Sprint("s", i)
	}
	db.boundary(t, "orders", names...)
	l := NewSubscriptionLag(db.Pool, time.Minute)
	l.measure(t.Context())
	warnings := l.Warn(t.Context())
	if len(warnings) != maxLagWarnings+1 || !strings.HasPrefix(warnings[maxLagWarnings], "3 more") {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
}

func TestABoundaryThatCannotBeMeasuredIsNamedAndHidesNoOther(t *testing.T) {
	db := newLagging(t)
	db.boundary(t, "bank", "a")
	db.boundary(t, "orders", "b")
	l := NewSubscriptionLag(db.Pool, 3*time.Hour)
	l.measure(t.Context())
	db.exec(t, `DROP TABLE bank_projector_checkpoint`)
	wantSeries(t, l.measured(t), map[string]float64{"events orders b": 2, "duration orders b": 2, "omitted": 0})
	warnings := l.Warn(t.Context())
	if len(warnings) != 1 || !strings.Contains(warnings[0], "unknown: boundary bank: ") {
		t.Errorf("the warnings are %q", warnings)
	}
}

// Subscriptions come and go, and the history has at most as many as the metrics.
func TestTheHistoryOfTheLagIsBounded(t *testing.T) {
	l := NewSubscriptionLag(nil, 0)
	l.series = 3
	measured := func(names ...string) (all []subscriptionLag) {
		for i, name := range names {
			all = append(all, subscriptionLag{"orders", name, int64(i), float64(i)})
		}
		return all
	}
	now := time.Now()
	l.record(now.Add(-26*time.Minute), measured("ended"))
	l.record(now.Add(-10*time.Minute), measured("gone", "a"))
	l.record(now.Add(-9*time.Minute), measured("a", "b"))
	if len(l.history) != 3 || len(l.History("orders", "gone", time.Time{})) != 1 {
		t.Errorf("with room for three: %v", l.history)
	}
	l.record(now.Add(-8*time.Minute), measured("c", "b", "a"))
	if len(l.history) != 3 || l.History("orders", "gone", time.Time{}) != nil ||
		len(l.History("orders", "b", time.Time{})) != 2 {
		t.Errorf("after a third one: %v", l.history)
	}
	if samples := l.History("orders", "a", time.Time{}); len(samples) != 3 || samples[0].GetEvents() != 1 ||
		samples[2].GetEvents() != 2 || samples[2].GetSeconds() != 2 || samples[1].GetMeasuredAt().AsTime().Sub(
		samples[0].GetMeasuredAt().AsTime()) != time.Minute {
		t.Errorf("a has %v", samples)
	}
}

func TestARecreatedSubscriptionHasNotTheLagOfTheDeletedOne(t *testing.T) {
	l := NewSubscriptionLag(nil, 0)
	now := time.Now()
	l.record(now.Add(-3*time.Minute), []subscriptionLag{{"orders", "mails", 1000, 60}})
	l.record(now.Add(-time.Minute), []subscriptionLag{{"orders", "mails", 2, 1}})
	samples := l.History("orders", "mails", now.Add(-2*time.Minute))
	if len(samples) != 1 || samples[0].GetEvents() != 2 {
		t.Errorf("created two minutes ago, it has %v", samples)
	}
}
