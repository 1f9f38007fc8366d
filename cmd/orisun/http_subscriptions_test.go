package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	orisunpb "github.com/oexza/orisun/proto"
)

// byHTTP calls the subscriptions of one server.
type byHTTP struct {
	t    *testing.T
	base string
}

// call returns the answer of a call that must have a status.
func (h byHTTP) call(status int, method, body string) string {
	h.t.Helper()
	got, answer := ask(h.t, http.MethodPost, h.base+"/orisun.Subscriptions/"+method, body)
	if got != status {
		h.t.Errorf("%s of %s: %d, want %d: %s", method, body, got, status, answer)
	}
	return answer
}

// frames reads what ReadSubscription sends. It leaves progress out, whose moment is open.
type frames struct {
	t    *testing.T
	next func() string
}

func (f frames) read() *orisunpb.ConsumeResponse {
	f.t.Helper()
	for {
		var response orisunpb.ConsumeResponse
		line := f.next()
		if err := protojson.Unmarshal([]byte(line), &response); err != nil {
			f.t.Fatalf("%v: %s", err, line)
		}
		if response.GetProgress() == nil {
			return &response
		}
	}
}

// deliveries reads up to n deliveries.
func (f frames) deliveries(n int) (all []*orisunpb.Delivery) {
	f.t.Helper()
	for len(all) < n {
		all = append(all, f.read().GetDeliveries().GetDeliveries()...)
	}
	return all
}

// settle is the start of a settlement of a delivery.
func settle(kind, consumer string, d *orisunpb.Delivery, more string) string {
	return fmt.Sprintf(`{"boundary": "orisun_test_1", "consumerId": %q, %q: [{"partition": %d, "epoch": %d, %s}]}`,
		consumer, kind, d.GetPartition(), d.GetEpoch(), more)
}

func at(p *orisunpb.Position) string {
	return fmt.Sprintf(`{"transactionId": %d, "globalId": "%d"}`, p.GetTransactionId(), p.GetGlobalId())
}

func TestASubscriptionIsConsumedByHTTP(t *testing.T) {
	server := launchWith(t)
	h := byHTTP{t, "http://" + server.http}
	const name = `"boundary": "orisun_test_1", "name": "mails"`
	const of = `"boundary": "orisun_test_1", "subscription": "mails"`
	if status, answer := ask(t, http.MethodPost, h.base+saveByHTTP, `{"boundary": "orisun_test_1", "events": [
		{"event_id": "a", "event_type": "T", "data": {"big": 9007199254740993}}, {"event_id": "b", "event_type": "T"},
		{"event_id": "c", "event_type": "T"}]}`); status != http.StatusOK {
		t.Fatal(answer)
	}
	h.call(200, "CreateSubscription", `{`+name+`, "max_refusals": 1, "ack_timeout": "60s"}`)
	h.call(409, "CreateSubscription", `{`+name+`, "max_refusals": 2}`)
	h.call(200, "CreateSubscription", `{"boundary": "orisun_test_1", "name": "late", "start": {"now": true}}`)

	// By NDJSON: one event is acknowledged, one is refused, one is delayed.
	const read = "/orisun.Subscriptions/ReadSubscription"
	//nolint:bodyclose // the end of the test closes it
	first := request(t, http.MethodPost, h.base+read, `{`+of+`, "consumer_name": "curl"}`)
	if kind := first.Header.Get("Content-Type"); first.StatusCode != http.StatusOK || kind != "application/x-ndjson" {
		t.Fatalf("%d %s", first.StatusCode, kind)
	}
	lines := bufio.NewReader(first.Body)
	stream := frames{t, func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}}
	consumer := stream.read().GetStarted().GetConsumerId()
	all := stream.deliveries(3)
	a, b, c := all[0], all[1], all[2]
	h.call(200, "Settle", settle("acknowledge", consumer, a, `"through": `+at(a.GetEvent().GetPosition())))
	h.call(200, "Settle", settle("refuse", consumer, b, `"reason": "no b", "position": `+at(b.GetEvent().GetPosition())))
	h.call(200, "Settle", settle("delay", consumer, c, `"delay": "0.001s", "position": `+at(c.GetEvent().GetPosition())))
	again := stream.deliveries(1)[0]
	if again.GetEvent().GetEventId() != "c" || again.GetDeliveryCount() != 2 {
		t.Errorf("after the delay comes %v", again)
	}
	h.call(200, "Settle", settle("acknowledge", consumer, again, `"positions": [`+at(again.GetEvent().GetPosition())+`]`))
	h.call(200, "WaitForCheckpoint", `{`+of+`, "position": `+at(c.GetEvent().GetPosition())+`}`)
	h.call(504, "WaitForCheckpoint", `{`+of+`, "timeout": "0.01s", "position": {"transactionId": 9, "globalId": 9}}`)

	for body, want := range map[string]int{
		settle("acknowledge", consumer, &orisunpb.Delivery{Epoch: 99}, `"positions": []`):             400,
		settle("refuse", consumer, c, `"reason": "no position"`):                                      400,
		settle("delay", consumer, c, `"delay": "5000s", "position": `+at(c.GetEvent().GetPosition())): 400,
		settle("acknowledge", consumer, a, `"through": {"transactionId": 9, "globalId": 9}`):          400,
		settle("acknowledge", "nobody", a, `"through": `+at(a.GetEvent().GetPosition())):              404,
		strings.Replace(settle("acknowledge", consumer, a, `"positions": []`), "test_1", "test_2", 1): 404,
		settle("acknowledge", consumer, a, `"position": `+at(a.GetEvent().GetPosition())):             400,
	} {
		h.call(want, "Settle", body)
	}
	var got struct {
		Subscription struct {
			Parked    string
			Consumers []struct{ Name, ConsumerID string }
		}
	}
	state := h.call(200, "GetSubscription", `{`+name+`}`)
	if err := json.Unmarshal([]byte(state), &got); err != nil || got.Subscription.Parked != "1" ||
		len(got.Subscription.Consumers) != 1 || got.Subscription.Consumers[0].Name != "curl" {
		t.Errorf("%v: %s", err, state)
	}
	names := regexp.MustCompile(`"name":"late".*"name":"mails"`)
	if list := h.call(200, "ListSubscriptions", `{"boundary": "orisun_test_1"}`); !names.MatchString(list) {
		t.Error(list)
	}

	// Parked events.
	const list = `{` + of + `, "count": 5}`
	if parked := h.call(200, "ListParked?data=object", list); !strings.Contains(parked, `"data":{}`) ||
		!strings.Contains(parked, `"reason":"no b"`) {
		t.Error(parked)
	}
	one := `{` + of + `, "positions": [` + at(b.GetEvent().GetPosition()) + `]}`
	if answer := h.call(200, "ReplayParked", one); answer != `{"events":"1"}` {
		t.Error(answer)
	}
	replayed := stream.deliveries(1)[0]
	if !replayed.GetReplayed() || replayed.GetEvent().GetEventId() != "b" {
		t.Errorf("%v is replayed", replayed)
	}
	h.call(400, "SkipParked", `{`+of+`}`)
	if answer := h.call(200, "SkipParked", `{`+of+`, "all": true}`); answer != `{"events":"1"}` {
		t.Error(answer)
	}

	// A reset ends the stream, and the next one begins where it says: by server-sent events, as a browser reads them.
	h.call(200, "ResetSubscription", `{`+name+`, "start": {"beginning": true}}`)
	for line := ""; !strings.HasPrefix(line, `{"error":`); {
		var err error
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the stream ends without an error: %v", err)
		}
	}
	message := "?data=object&message=" + url.QueryEscape(`{`+of+`, "window": 1}`)
	//nolint:bodyclose // the end of the test closes it
	second := request(t, http.MethodGet, h.base+read+message, "", "Accept", "text/event-stream")
	if kind := second.Header.Get("Content-Type"); second.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%d %s", second.StatusCode, kind)
	}
	sent := bufio.NewReader(second.Body)
	var last string
	objects := regexp.MustCompile(`"(data|metadata)":\{[^}]*\}`)
	asText := frames{t, func() string {
		last = next(t, sent).data
		return objects.ReplaceAllString(last, `"$1":"{}"`)
	}}
	consumer = asText.read().GetStarted().GetConsumerId()
	for _, id := range []string{"a", "b", "c"} {
		d := asText.deliveries(1)[0]
		const document = `"data":{"big":9007199254740993},"metadata":{}`
		if d.GetEvent().GetEventId() != id || id == "a" && !strings.Contains(last, document) {
			t.Errorf("after the reset comes %s, want %s", last, id)
		}
		h.call(200, "Settle", settle("acknowledge", consumer, d, `"through": `+at(d.GetEvent().GetPosition())))
	}
	if asText.read().GetCaughtUp() == nil {
		t.Errorf("%s, want that it caught up", last)
	}
	h.call(200, "DeleteSubscription", `{`+name+`}`)
	h.call(404, "GetSubscription", `{`+name+`}`)
	for e := next(t, sent); e.event != "error"; e = next(t, sent) {
		last = e.data // until the deletion ends the stream
	}
	h.call(404, "ReadSubscription", `{`+of+`}`)
	if answer := h.call(415, "Consume", `{"start": {`+of+`}}`); !strings.Contains(answer, "ReadSubscription") {
		t.Error(answer)
	}
}
