package server

import (
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
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
	})
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
	subscribers := func(*orisunpb.ListSubscribersRequest) *orisunpb.ListSubscribersResponse {
		answers <- struct{}{}
		return &orisunpb.ListSubscribersResponse{}
	}
	if err := n.answer(subscribers); err != nil {
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
			n.accept(request, func(*orisunpb.ListSubscribersRequest) *orisunpb.ListSubscribersResponse {
				return &orisunpb.ListSubscribersResponse{}
			})
		}
	}()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	<-arriving
	n.running.Wait()
	before := len(answers)
	n.accept(request, subscribers)
	n.running.Wait()
	if before != 1 || len(answers) != before || n.measured(t.Context()) != nil {
		t.Errorf("%d answers, and %d after the stop", before, len(answers)-before)
	}
}
