package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/httpapi"
)

// ask makes an HTTP request with the default credentials and reads the answer.
func ask(t *testing.T, method, url, body string, header ...string) (status int, answer string) {
	t.Helper()
	response := request(t, method, url, body, header...) //nolint:bodyclose // closed at the end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// request is ask for an answer that goes on until the test ends.
func request(t *testing.T, method, url, body string, header ...string) *http.Response {
	t.Helper()
	asked, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	asked.SetBasicAuth("admin", "changeit")
	if body != "" {
		asked.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		asked.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(asked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	return response
}

func readyz(t *testing.T, server *process) (status int, answer httpapi.ReadinessAnswer) {
	t.Helper()
	status, text := ask(t, http.MethodGet, "http://"+server.http+"/readyz", "")
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return status, answer
}

func TestReadinessSaysWhatIsWrongAndHealthThatTheProcessLives(t *testing.T) {
	config := pgtest.Clone(t)
	executeOn(t, config, "GRANT CREATE ON SCHEMA public TO PUBLIC")
	// calls come in by HTTP, too
	server := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_ADMIN_HOST=")...))
	// A first login hashes the password. On a busy machine that takes longer than /readyz waits for it.
	token := tokenOf(t, server)
	status, answer := readyz(t, server)
	if status != http.StatusOK || !answer.Ready || !answer.Serving.OK {
		t.Fatalf("%d, %+v", status, answer)
	}
	for _, name := range []string{"postgresql", "migrations", "jetstream"} {
		if !answer.Checks[name].OK {
			t.Errorf("check %s: %+v", name, answer.Checks[name])
		}
	}
	if warnings := strings.Join(answer.Warnings, "; "); !strings.Contains(warnings, "default password") ||
		!strings.Contains(warnings, "fsync") ||
		!strings.Contains(warnings, "REVOKE CREATE ON SCHEMA public FROM PUBLIC") {
		t.Errorf("warnings %q: the tests' PostgreSQL has no fsync, the password is the default one, and every role may "+
			"create in schema public", warnings)
	}

	for name, header := range map[string][]string{
		"no credentials": {"Authorization", ""}, "a wrong password": {"Authorization", "Basic YWRtaW46d3Jvbmc="},
		"a forged token": {"Authorization", "", "X-Auth-Token", "forged"},
	} {
		status, text := ask(t, http.MethodGet, "http://"+server.http+"/readyz", "", header...)
		var shown map[string]any
		if err := json.Unmarshal([]byte(text), &shown); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if status != http.StatusOK || shown["ready"] != true || len(shown) != 2 || shown["details"] == nil {
			t.Errorf("%s: %d %s, want 200, that it is ready and why there are no details", name, status, text)
		}
	}
	if status, text := ask(t, http.MethodGet, "http://"+server.http+"/readyz", "", "Authorization", "", "X-Auth-Token",
		token); status != http.StatusOK || !strings.Contains(text, `"postgresql"`) {
		t.Errorf("by a token: %d %s", status, text)
	}

	allow := func(allowed bool) { // connections to the database of this test
		t.Helper()
		other := config.Copy()
		other.Database = "postgres"
		conn, err := pgx.ConnectConfig(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := conn.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		if _, err := conn.Exec(t.Context(),
			fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t",
				pgx.Identifier{config.Database}.Sanitize(), allowed)); err != nil {
			t.Fatal(err)
		}
		if !allowed {
			if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
				config.Database); err != nil {
				t.Fatal(err)
			}
		}
	}
	allow(false)
	waitFor(t, func() bool {
		status, answer = readyz(t, server)
		return status == http.StatusServiceUnavailable && !answer.Ready && !answer.Checks["postgresql"].OK &&
			answer.Checks["postgresql"].Reason != ""
	})
	if status, text := ask(t, http.MethodGet, "http://"+server.http+"/readyz", "", "Authorization",
		""); status != http.StatusServiceUnavailable || strings.Contains(text, "postgresql") {
		t.Errorf("a probe without credentials while PostgreSQL is away: %d %s", status, text)
	}
	if status, text := ask(t, http.MethodGet, "http://"+server.http+"/healthz", ""); status != http.StatusOK ||
		!strings.Contains(text, `"ok"`) {
		t.Errorf("health while PostgreSQL is away: %d %s", status, text)
	}
	allow(true)
	waitFor(t, func() bool { status, _ = readyz(t, server); return status == http.StatusOK })
}

// JetStream takes all the time of a look while it has no leader.
func TestProbesSeeADrainAndCallsByHTTPFinish(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	tx, release := holdPositions(t, config)
	answered := make(chan string, 1)
	go func() {
		status, text := ask(t, http.MethodPost, "http://"+server.http+"/orisun.EventStore/SaveEvents",
			`{"boundary":"orisun_test_1","events":[{"eventId":"a","eventType":"T","data":"{}"}]}`)
		answered <- fmt.Sprint(status, text)
	}()
	waitFor(t, func() bool { return isWaiting(t, tx) })
	server.signal(t, syscall.SIGTERM)
	waitFor(t, func() bool {
		status, answer := readyz(t, server)
		return status == http.StatusServiceUnavailable && answer.Serving.Reason == "draining"
	})
	if status, text := ask(t, http.MethodPost, "http://"+server.http+"/orisun.EventStore/Ping",
		"{}"); status != http.StatusServiceUnavailable || !strings.Contains(text, "shutting down") {
		t.Errorf("a new call: %d %s", status, text)
	}
	release()
	if answer := <-answered; !strings.HasPrefix(answer, "200") {
		t.Errorf("the call in flight: %s", answer)
	}
	server.stop(t, syscall.SIGTERM)
}

func TestAStreamIsLinesForCurlAndEventsForABrowser(t *testing.T) {
	server := launchWith(t)
	const subscribe = "/orisun.EventStore/CatchUpSubscribeToEvents"
	url := "http://" + server.http
	for i := range 2 {
		if status, text := ask(t, http.MethodPost, url+"/orisun.EventStore/SaveEvents",
			fmt.Sprintf(`{"boundary":"orisun_test_1","events":[{"event_id":"%d","event_type":"T","data":"{\"n\": %d}"}]}`, i,
				i)); status != http.StatusOK {
			t.Fatal(text)
		}
	}
	fromStart := `{"boundary":"orisun_test_1","after_position":{"transaction_id":-1,"global_id":-1}}`
	response := request(t, http.MethodPost, url+subscribe, fromStart) //nolint:bodyclose // closed at the end
	plain := bufio.NewReader(response.Body)
	for i := range 2 {
		line, err := plain.ReadString('\n')
		var event struct{ EventID, EventType, Data string }
		if err != nil || json.Unmarshal([]byte(line), &event) != nil || event.EventID != fmt.Sprint(i) ||
			event.Data != fmt.Sprintf(`{"n": %d}`, i) {
			t.Errorf("line %d: %q, %v", i, line, err)
		}
	}
	browser := request(t, http.MethodPost, url+subscribe, fromStart, //nolint:bodyclose // closed at the end
		"Accept", "text/event-stream")
	if e := next(t, bufio.NewReader(browser.Body)); e.id != "1/0" || !strings.HasPrefix(e.data, "{") ||
		browser.Header.Get("Content-Type") != "text/event-stream" || browser.Header.Get("X-Auth-Token") == "" {
		t.Errorf("%+v, header %v", e, browser.Header)
	}
	// It has begun before there is an event.
	waiting := request(t, http.MethodPost, url+subscribe, //nolint:bodyclose // closed at the end
		`{"boundary":"orisun_test_2"}`)
	if waiting.StatusCode != http.StatusOK {
		t.Errorf("a subscription from now on: %d", waiting.StatusCode)
	}

	for body, want := range map[string]string{
		`{"boundary":"nowhere"}`: `404 "not_found"`, `{}`: `400 "invalid_argument" boundary`, `{`: `400 "invalid_argument"`,
		`{"bonudary":"x"}`: `400 "invalid_argument" bonudary`,
	} {
		status, text := ask(t, http.MethodPost, url+subscribe, body)
		for i, part := range strings.Fields(want) {
			if !strings.Contains(map[bool]string{true: fmt.Sprint(status), false: text}[i == 0], part) {
				t.Errorf("%s answers %d %s, want %s", body, status, text, want)
			}
		}
	}
	if status, text := ask(t, http.MethodPost, url+subscribe, fromStart, "Authorization",
		"Basic eDp5"); status != http.StatusUnauthorized || !strings.Contains(text, `"unauthenticated"`) {
		t.Errorf("with wrong credentials: %d %s", status, text)
	}

	server.signal(t, syscall.SIGTERM)
	rest, err := io.ReadAll(plain)
	if err != nil || !strings.Contains(string(rest), `{"error":{"code":"unavailable"`) {
		t.Errorf("the stream ends with %q, %v, want UNAVAILABLE", rest, err)
	}
}

func TestRequestsThatAreNoCallsGetErrorsOfTheirOwn(t *testing.T) {
	server := launchWith(t)
	url := "http://" + server.http
	for _, c := range []struct {
		method, path, body, kind string
		status                   int
		text                     string
	}{
		{http.MethodGet, "/nowhere", "", "", 404, "openapi.json"},
		{http.MethodPost, "/orisun.EventStore/NoSuch", "{}", "application/json", 404, "NoSuch"},
		{http.MethodGet, "/orisun.EventStore/Ping", "", "", 405, "POST"},
		{http.MethodPost, "/orisun.EventStore/Ping", "{}", "application/x-www-form-urlencoded", 415, "application/json"},
		{http.MethodPost, "/orisun.EventStore/Ping", `{"x":1}`, "application/json", 400, "x"},
		{http.MethodPost, "/orisun.EventStore/Ping", "{}", "application/json", 200, "{}"},
	} {
		status, text := ask(t, c.method, url+c.path, c.body, "Content-Type", c.kind)
		if status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s as %q: %d %s, want %d with %s", c.method, c.path, c.kind, status, text, c.status, c.text)
		}
	}
	if status, _ := ask(t, http.MethodPost, url+"/orisun.EventStore/Ping", "{}", "Sec-Fetch-Site",
		"cross-site"); status != http.StatusForbidden {
		t.Errorf("a foreign page gets %d with the browser's credentials", status)
	}
}

func TestPrometheusGetsTheMetricsOfWhatHappens(t *testing.T) {
	server := launchWith(t)
	store := connect(t, server.address)
	for i := range 3 {
		saveTraced(t.Context(), t, store, fmt.Sprint(i))
	}
	subscription, err := store.CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_test_1", AfterPosition: &orisunpb.Position{TransactionId: -1, GlobalId: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subscription.Recv(); err != nil {
		t.Fatal(err)
	}
	query := &orisunpb.Query{Criteria: []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "k", Value: "v"}}}}}
	if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: "orisun_test_1", Query: query,
	}); err != nil {
		t.Fatal(err)
	}
	var text string
	waitFor(t, func() bool {
		_, text = ask(t, http.MethodGet, "http://"+server.http+"/metrics", "")
		return sample(text, "orisun_outbox_lag_events", `orisun_boundary="orisun_test_1"`) == "0"
	})
	for _, want := range [][3]string{
		{"orisun_saves_total", `orisun_outcome="saved"`, "3"},
		{"orisun_events_saved_total", `orisun_boundary="orisun_test_1"`, "3"},
		{"orisun_queue_depth", `orisun_boundary="orisun_test_1"`, "0"},
		{"orisun_flush_saves_sum", `orisun_boundary="orisun_test_1"`, "3"},
		{"orisun_queue_wait_seconds_count", `orisun_boundary="orisun_test_1"`, "3"},
		{"orisun_flush_duration_seconds_count", `orisun_boundary="orisun_test_1"`, "3"},
		{"orisun_outbox_lag_duration_seconds", `orisun_boundary="orisun_test_1"`, "0"},
		{"orisun_outbox_leads", `orisun_boundary="orisun_test_1"`, "1"},
		{"orisun_feed_subscribers", `orisun_boundary="orisun_test_1"`, "1"},
		{"orisun_unindexed_shapes", `orisun_boundary="orisun_test_1"`, "1"},
		{"orisun_unindexed_criteria_total", `orisun_boundary="orisun_test_1"`, "1"},
		{"rpc_server_call_duration_seconds_count", `rpc_method="orisun.EventStore/SaveEvents"`, "3"},
		{
			"rpc_server_call_duration_seconds_bucket",
			`rpc_method="orisun.EventStore/SaveEvents",rpc_response_status_code="OK",rpc_system_name="grpc",le="0.0001"`, "0",
		},
		{"orisun_boundary_events", `orisun_boundary="orisun_test_1"`, "3"},
		{"orisun_build_info", `version="v0.0.1-test"`, "1"},
		{"orisun_postgresql_up", "", "1"},
	} {
		if got := sample(text, want[0], want[1]); got != want[2] {
			t.Errorf("%s{%s} is %q, want %s", want[0], want[1], got, want[2])
		}
	}
	for _, name := range []string{
		"db_client_operation_duration_seconds_count", "orisun_feed_deliveries_total", "go_goroutines", "target_info",
		"orisun_jetstream_messages",
	} {
		if sample(text, name, "") == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for _, name := range []string{"orisun_boundary_size_bytes", "orisun_jetstream_size_bytes"} {
		if bytes, err := strconv.ParseFloat(sample(text, name, ""), 64); err != nil || bytes < 100 {
			t.Errorf("%s is %q", name, sample(text, name, ""))
		}
	}
	if strings.Contains(text, "otel_scope_") {
		t.Error("series have labels of the scope")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// sample is the value of the first time series with this name and this label.
func sample(text, name, label string) string {
	for line := range strings.Lines(text) {
		if series, value, found := strings.Cut(line, "} "); found && strings.HasPrefix(series, name+"{") &&
			strings.Contains(series, label) {
			return strings.TrimSpace(value)
		}
		if value, found := strings.CutPrefix(line, name+" "); found && label == "" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
