package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// get is the body of a request by the first admin.
func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("admin", "changeit")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestTheLagOfADurableSubscriptionIsInMetricsAndReadiness(t *testing.T) {
	server := servertest.Start(t, "ORISUN_SUBSCRIPTION_LAG_WARNING=1ms")
	d := dialDurable(server.Dial(t))
	d.create(t, &orisunpb.CreateSubscriptionRequest{Name: "mails", PartitionKey: "order"})
	last := d.save(t, "a", "b", "c")

	const labels = `{orisun_boundary="orisun_test_1",orisun_subscription="mails"} `
	const warning = "durable subscription mails of boundary orisun_test_1 is behind"
	wait := func(events string, warned bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics, ready := get(t, "http://"+server.HTTP+"/metrics"), get(t, "http://"+server.HTTP+"/readyz")
			if strings.Contains(metrics, "\norisun_subscription_lag_events"+labels+events+"\n") &&
				strings.Contains(metrics, "\norisun_subscription_lag_duration_seconds"+labels) &&
				strings.Contains(ready, warning) == warned && strings.Contains(ready, `"ready": true`) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the lag is not %s with a warning %t: %s\n%s", events, warned, ready, metrics)
			}
			<-tick.C
		}
	}
	history := func(with bool) []*orisunpb.SubscriptionLagSample {
		t.Helper()
		answer, err := d.GetSubscription(t.Context(), &orisunpb.GetSubscriptionRequest{
			Boundary: "orisun_test_1", Name: "mails", WithLagHistory: with,
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetLagHistory()
	}
	wait("3", true)
	await(t, "the history has the lag", func() bool {
		samples := history(true)
		return len(samples) > 0 && samples[len(samples)-1].GetEvents() == 3 &&
			samples[len(samples)-1].GetSeconds() > 0 && time.Since(samples[0].GetMeasuredAt().AsTime()) < time.Minute
	})
	if samples := history(false); len(samples) != 0 {
		t.Errorf("without with_lag_history: %v", samples)
	}
	consumer := d.consume(t, "mails", 10)
	consumer.acknowledge(t, consumer.events(t, 3)...)
	d.wait(t, "mails", last)
	wait("0", false)
}
