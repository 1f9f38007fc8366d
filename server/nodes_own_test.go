package server

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/recent"
)

// gauges is a family with a series of value 1 for each boundary.
func gauges(name string, boundaries ...string) *dto.MetricFamily {
	family := &dto.MetricFamily{Name: &name}
	for _, boundary := range boundaries {
		family.Metric = append(family.Metric, &dto.Metric{
			Label: []*dto.LabelPair{{Name: proto.String("orisun_boundary"), Value: &boundary}},
			Gauge: &dto.Gauge{Value: proto.Float64(1)},
		})
	}
	return family
}

func TestNumbersAreOfBoundariesThatExist(t *testing.T) {
	node := numbersOf([]*dto.MetricFamily{
		gauges("orisun_feed_subscribers", "deleted", "orders"), gauges("orisun_outbox_leads", "orders", "payments"),
		gauges("orisun_queue_depth", "deleted"),
	}, time.Now())
	var names []string
	for _, boundary := range node.GetBoundaries() {
		names = append(names, boundary.GetName())
	}
	if !slices.Equal(names, []string{"orders", "payments"}) || node.GetBoundaries()[0].GetSubscribers() != 1 {
		t.Errorf("the node reports %v", node.GetBoundaries())
	}
}

func TestMoreBoundariesAreMeasuredLessOften(t *testing.T) {
	for _, c := range []struct {
		boundaries int
		age        time.Duration
	}{{3, time.Second}, {50, time.Second}, {500, 10 * time.Second}, {maxNodeBoundaries + 500, 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			var boundaries []string
			for i := range c.boundaries {
				boundaries = append(boundaries, strconv.Itoa(i))
			}
			var measured []time.Duration
			began := time.Now()
			n := &nodes{log: slog.New(slog.DiscardHandler), metrics: prometheus.GathererFunc(
				func() ([]*dto.MetricFamily, error) {
					measured = append(measured, time.Since(began))
					return []*dto.MetricFamily{gauges("orisun_outbox_leads", boundaries...)}, nil
				})}
			for time.Since(began) <= 2*c.age {
				n.measured(t.Context())
				<-time.After(100 * time.Millisecond) // the bubble's clock
			}
			if want := []time.Duration{0, c.age, 2 * c.age}; !slices.Equal(measured, want) {
				t.Errorf("%d boundaries are measured at %v, want %v", c.boundaries, measured, want)
			}
		})
	}
}

// countedAnswers is an ownState without subscribers and conflicts. It sends for each answer about subscribers.
type countedAnswers chan<- struct{}

func (c countedAnswers) OwnSubscribers(*orisunpb.ListSubscribersRequest) *orisunpb.ListSubscribersResponse {
	c <- struct{}{}
	return &orisunpb.ListSubscribersResponse{}
}

func (countedAnswers) OwnConflicts(*orisunpb.ListConflictsRequest) *orisunpb.ListConflictsResponse {
	return &orisunpb.ListConflictsResponse{}
}

// NATS may deliver a request while the node stops, and after.
func TestNoRequestIsAnsweredAfterTheStop(t *testing.T) {
	embedded, err := natsserver.NewServer(&natsserver.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	embedded.Start()
	t.Cleanup(func() { embedded.Shutdown(); embedded.WaitForShutdown() })
	conn, err := nats.Connect("", nats.InProcessServer(embedded))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	n := &nodes{name: "a", storeID: "s", conn: conn, log: slog.New(slog.DiscardHandler)}
	answers := make(chan struct{}, 100)
	if err := n.answer(countedAnswers(answers)); err != nil {
		t.Fatal(err)
	}
	request := nats.NewMsg(n.subject(subscribersKind))
	request.Header.Set(nodeHeader, "b")
	if _, err := conn.RequestMsgWithContext(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	request.Reply = nats.NewInbox()
	arriving := make(chan struct{})
	go func() {
		defer close(arriving)
		for range 1000 { // as NATS calls it, during the stop and after
			n.accept(request, countedAnswers(make(chan struct{}, 1)))
		}
	}()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	<-arriving
	n.running.Wait()
	before := len(answers)
	n.accept(request, countedAnswers(answers))
	n.running.Wait()
	if before != 1 || len(answers) != before || n.measured(t.Context()) != nil {
		t.Errorf("%d answers, and %d after the stop", before, len(answers)-before)
	}
}

// counts are the counters of a boundary that has done everything so many times.
func counts(boundary string, times float64) (families []*dto.MetricFamily) {
	counter := func(name, label, value string) {
		families = append(families, &dto.MetricFamily{Name: &name, Metric: []*dto.Metric{{
			Label: []*dto.LabelPair{
				{Name: proto.String("orisun_boundary"), Value: &boundary}, {Name: &label, Value: &value},
			},
			Counter: &dto.Counter{Value: &times},
		}}})
	}
	counter("orisun_saves_total", "orisun_outcome", "saved")
	counter("orisun_saves_total", "orisun_outcome", "context_changed")
	counter("orisun_feed_deliveries_total", "orisun_source", "ring")
	return families
}

// The counters of a deleted boundary stay, and those of a recreated one go on.
func TestADeletedOrRecreatedBoundaryMakesNoFalseRates(t *testing.T) {
	n, begin := &nodes{}, time.Now().Add(-time.Minute)
	both, one := gauges(leadsMetric, "orders", "bank"), gauges(leadsMetric, "bank")
	var before nodeCounters
	for i, families := range [][]*dto.MetricFamily{
		slices.Concat(counts("orders", 1000), counts("bank", 10), []*dto.MetricFamily{both}),
		slices.Concat(counts("orders", 1000), counts("bank", 20), []*dto.MetricFamily{one}),
		slices.Concat(counts("orders", 1010), counts("bank", 30), []*dto.MetricFamily{both}),
	} {
		now := countersOf(families, begin.Add(time.Duration(i)*recent.Interval))
		if i > 0 && !n.record(before, now) {
			t.Fatalf("measurement %d is not recorded", i)
		}
		before = now
	}
	for i, want := range []float64{1, 2} {
		sample := n.samples()[i]
		if sample.GetSaves() != want || sample.GetConflicts() != want || sample.GetDeliveries() != want {
			t.Errorf("sample %d is %v, want %v a second of each", i, sample, want)
		}
	}
}

func TestANodeMeasuresItselfAfterTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		measured := 0
		n := &nodes{log: slog.New(slog.DiscardHandler), metrics: prometheus.GathererFunc(
			func() ([]*dto.MetricFamily, error) { measured++; return nil, nil })}
		n.measured(t.Context())
		n.numbers.MeasuredAt = timestamppb.New(time.Now().Add(time.Hour)) // as the clock was before
		n.history.Add(time.Now().Add(time.Hour), nodeRates{})
		<-time.After(measureAge)
		n.measured(t.Context())
		if measured != 2 {
			t.Errorf("measured %d times, want 2", measured)
		}
		if now := time.Now(); !n.record(nodeCounters{at: now.Add(-recent.Interval)}, nodeCounters{at: now}) ||
			len(n.samples()) != 1 {
			t.Errorf("the history is %v, want one sample of now", n.samples())
		}
	})
}

func TestSamplesCostNoQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		saves := 0.
		n := &nodes{
			log: slog.New(slog.DiscardHandler),
			metrics: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
				t.Error("a sample collects the metrics that query PostgreSQL")
				return nil, nil
			}),
			counters: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
				saves += samplePause.Seconds()
				return counts("orders", float64(int(saves*10))), nil
			}),
		}
		done := make(chan struct{})
		go func() { defer close(done); n.sample(ctx) }()
		<-time.After(time.Minute)
		cancel()
		<-done
		if samples := n.samples(); len(samples) != 5 || math.Abs(samples[4].GetSaves()-10) > 0.1 {
			t.Errorf("the samples of a minute are %v", samples)
		}
	})
}

func TestUnsafeSettingsAreOneWarningWithWhatToDo(t *testing.T) {
	for want, settings := range map[string][]string{
		"": nil,
		"PostgreSQL's fsync is off: a crash may lose acknowledged events. " +
			"Set it on in postgresql.conf and reload.": {"fsync"},
		"PostgreSQL's fsync, full_page_writes and synchronous_commit are off: a crash may lose acknowledged events. " +
			"Set them on in postgresql.conf and reload.": {"fsync", "full_page_writes", "synchronous_commit"},
	} {
		if got := strings.Join(lossOf(settings), "; "); got != want {
			t.Errorf("%v: %q, want %q", settings, got, want)
		}
	}
}

func TestAnAnswerThatIsTooLargeLosesItsLastRows(t *testing.T) {
	answer := &orisunpb.ListConflictsResponse{Total: 1000}
	for i := range int64(1000) {
		answer.Contexts = append(answer.Contexts, &orisunpb.ContextConflicts{
			Count: 1000 - i, Minutes: make([]int64, 60), Criteria: []*orisunpb.Criterion{
				{Tags: []*orisunpb.Tag{{Key: "seat", Value: strings.Repeat("x", 4000)}}},
			},
		})
	}
	const room = 1 << 20
	removed := fit(answer, &answer.Contexts, room)
	if left := len(answer.GetContexts()); proto.Size(answer) > room || left < 125 || removed != 1000-left ||
		answer.GetContexts()[left-1].GetCount() != int64(1001-left) {
		t.Errorf("%d rows with %d bytes are left, %d removed", left, proto.Size(answer), removed)
	}
}
