package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	subscribeByHTTP = "/orisun.EventStore/CatchUpSubscribeToEvents"
	saveByHTTP      = "/orisun.EventStore/SaveEvents"
	getByHTTP       = "/orisun.EventStore/GetEvents"
)

// serverSent is one event of a stream.
type serverSent struct{ id, event, data string }

// next reads server-sent events as the standard says, comments left out.
func next(t *testing.T, from *bufio.Reader) (e serverSent) {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ends with %q: %v", line, err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case line == "\n" && e != serverSent{}:
			return e
		case name == "id":
			e.id = value
		case name == "event":
			e.event = value
		case name == "data":
			e.data += value
		}
	}
}

func TestABrowserFollowsByGetAndGoesOnAfterTheLastEvent(t *testing.T) {
	server := launchWith(t)
	base := "http://" + server.http
	if status, text := ask(t, http.MethodPost, base+saveByHTTP, `{"boundary": "orisun_test_1", "events": [
		{"event_id": "a", "event_type": "T", "data": {"n": 9007199254740993}},
		{"event_id": "b", "event_type": "T", "data": {"n": 2}},
		{"event_id": "c", "event_type": "T"}]}`); status != http.StatusOK {
		t.Fatal(text)
	}
	follow := func(message, more string, header ...string) *http.Response {
		t.Helper()
		return request(t, http.MethodGet, base+subscribeByHTTP+"?message="+url.QueryEscape(message)+more, "",
			append(header, "Accept", "text/event-stream")...)
	}
	const all = `{"boundary": "orisun_test_1", "afterPosition": {"transactionId": -1, "globalId": -1}}`
	first := follow(all, "") //nolint:bodyclose // closed at the end
	if kind := first.Header.Get("Content-Type"); first.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%d %s", first.StatusCode, kind)
	}
	events := bufio.NewReader(first.Body)
	for i, id := range []string{"3/0", "3/1", "3/2"} {
		e := next(t, events)
		var event orisunpb.Event
		if err := protojson.Unmarshal([]byte(e.data), &event); err != nil || e.id != id ||
			event.GetEventId() != string(rune('a'+i)) {
			t.Errorf("event %d is %+v, %v, want the id %s", i, e, err, id)
		}
	}
	// A browser that connects again sends the same request, and the id that it saw last.
	for _, c := range []struct{ method, body string }{{http.MethodGet, ""}, {http.MethodPost, all}} {
		query := map[string]string{"": "?message=" + url.QueryEscape(all)}[c.body]
		again := request(t, c.method, base+subscribeByHTTP+query, c.body, //nolint:bodyclose // closed at the end
			"Accept", "text/event-stream", "Last-Event-ID", "3/1")
		if e := next(t, bufio.NewReader(again.Body)); e.id != "3/2" {
			t.Errorf("%s: after 3/1 comes %+v", c.method, e)
		}
	}
	objects := follow(all, "&data=object") //nolint:bodyclose // closed at the end
	var event struct {
		Data, Metadata map[string]json.Number
	}
	if e := next(t, bufio.NewReader(objects.Body)); json.Unmarshal([]byte(e.data), &event) != nil ||
		event.Data["n"] != "9007199254740993" || event.Metadata == nil {
		t.Errorf("with data=object comes %s", e.data)
	}

	for name, c := range map[string]struct {
		message, more string
		header        []string
		status        int
		text          string
	}{
		"no message":              {"", "", nil, 400, "boundary"},
		"no boundary":             {"{}", "", nil, 400, "boundary"},
		"an unknown field":        {`{"bonudary": "x"}`, "", nil, 400, "bonudary"},
		"no JSON":                 {`{`, "", nil, 400, "JSON"},
		"an unknown boundary":     {`{"boundary": "nowhere"}`, "", nil, 404, "nowhere"},
		"an unknown parameter":    {all, "&after=3", nil, 400, "after"},
		"an unknown value":        {all, "&data=xml", nil, 400, "xml"},
		"an id of something else": {all, "", []string{"Last-Event-ID", "seven"}, 400, "Last-Event-ID"},
		"another site's page":     {all, "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross-origin"},
		"wrong credentials":       {all, "", []string{"Authorization", "Basic eDp5"}, 401, "unauthenticated"},
	} {
		response := follow(c.message, c.more, c.header...) //nolint:bodyclose // closed at the end
		text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		if err != nil || response.StatusCode != c.status || !strings.Contains(string(text), c.text) {
			t.Errorf("%s: %d %s, %v, want %d with %s", name, response.StatusCode, text, err, c.status, c.text)
		}
	}
	if status, text := ask(t, http.MethodGet, base+getByHTTP, ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GetEvents by GET: %d %s", status, text)
	}
}

// The JSON of an event may exceed the limits of messages when its protobuf does not: data as a text has two characters
// for each quote.
func TestAnEventWhoseJSONExceedsTheSendLimitIsStreamed(t *testing.T) {
	const limit = 4096
	server := launchWith(t, fmt.Sprintf("ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE=%d", limit),
		fmt.Sprintf("ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE=%d", limit))
	base := "http://" + server.http
	quotes := strings.Repeat(`\"`, 1200)
	for _, event := range []string{
		`{"event_id": "quotes", "event_type": "T", "data": {"a": "` + quotes + `"}}`,
		`{"event_id": "last", "event_type": "T"}`,
	} {
		if status, text := ask(t, http.MethodPost, base+saveByHTTP,
			`{"boundary": "orisun_test_1", "events": [`+event+`]}`); status != http.StatusOK {
			t.Fatal(text)
		}
	}
	const all = `{"boundary": "orisun_test_1", "afterPosition": {"transactionId": -1, "globalId": -1}}`
	path := subscribeByHTTP + "?message=" + url.QueryEscape(all)
	follow := request(t, http.MethodGet, base+path, "") //nolint:bodyclose // closed at the end
	events := bufio.NewReader(follow.Body)
	for _, id := range []string{"quotes", "last"} {
		e := next(t, events)
		var event orisunpb.Event
		if err := protojson.Unmarshal([]byte(e.data), &event); err != nil || event.GetEventId() != id ||
			id == "quotes" && (len(e.data) <= limit || event.GetData() != `{"a": "`+quotes+`"}`) {
			t.Fatalf("the event %s came as %+v, %v", id, e, err)
		}
	}
}

func TestDataAndMetadataAreObjectsOrTextsByHTTP(t *testing.T) {
	server := launchWith(t)
	base := "http://" + server.http
	save := func(event string) (int, string) {
		t.Helper()
		return ask(t, http.MethodPost, base+saveByHTTP, `{"boundary": "orisun_test_1", "events": [`+event+`]}`)
	}
	const document = `{"big": 12345678901234567890.10, "nested": {"data": {"a": [1, null]}, "events": [{"data": {}}]}, ` +
		`"text": "q\"ü\n"}`
	quoted, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{
		`{"eventId": "objects", "eventType": "T", "data": ` + document + `, "metadata": ` + document + `}`,
		`{"event_id": "texts", "event_type": "T", "data": ` + string(quoted) + `, "metadata": ` + string(quoted) + `}`,
		`{"event_id": "nulls", "event_type": "T", "data": null, "metadata": null}`,
		`{"event_id": "neither", "event_type": "T"}`,
	} {
		if status, text := save(event); status != http.StatusOK {
			t.Fatalf("%s: %d %s", event, status, text)
		}
	}
	for event, want := range map[string]string{
		`{"event_id": "x", "event_type": "T", "data": [1]}`:             "events[0].data",
		`{"event_id": "x", "event_type": "T", "metadata": 7}`:           "events[0].metadata",
		`{"event_id": "x", "event_type": "T", "data": {"a": "\u0000"}}`: "events[0].data",
		`{"event_id": "x", "event_type": "T", "data": {"a": }}`: "the request is not the JSON of a " +
			"SaveEventsRequest",
		`{"event_id": "x", "event_type": "T", "data": {}, "data": "{}"}`: "duplicate",
		`{"event_id": {"a": 1}, "event_type": "T"}`:                      "eventId",
	} {
		if status, text := save(event); status != http.StatusBadRequest ||
			!strings.Contains(strings.ToLower(strings.NewReplacer(" ", "", "_", "").Replace(text)),
				strings.ToLower(strings.ReplaceAll(want, " ", ""))) {
			t.Errorf("%s: %d %s, want 400 with %s", event, status, text, want)
		}
	}

	type event struct {
		EventID        string
		Data, Metadata json.RawMessage
	}
	compact := func(raw json.RawMessage) string {
		var out strings.Builder
		if err := json.NewEncoder(&out).Encode(raw); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out.String())
	}
	read := func(path, body string, into any) {
		t.Helper()
		status, text := ask(t, http.MethodPost, base+path, body)
		if err := json.Unmarshal([]byte(text), into); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v %s", path, status, err, text)
		}
	}
	var texts, objects struct{ Events []event }
	read(getByHTTP, `{"boundary": "orisun_test_1"}`, &texts)
	read(getByHTTP+"?data=object", `{"boundary": "orisun_test_1"}`, &objects)
	if len(texts.Events) != 4 || len(objects.Events) != 4 {
		t.Fatalf("%d and %d events", len(texts.Events), len(objects.Events))
	}
	for i, as := range objects.Events {
		var text string
		if err := json.Unmarshal(texts.Events[i].Data, &text); err != nil ||
			compact(json.RawMessage(text)) != compact(as.Data) || as.Data[0] != '{' || as.Metadata[0] != '{' {
			t.Errorf("event %d is %s as text and %s as an object, metadata %s", i, text, as.Data, as.Metadata)
		}
	}
	if compact(objects.Events[0].Data) != compact(objects.Events[1].Data) ||
		!strings.Contains(string(objects.Events[0].Data), "12345678901234567890.10") ||
		string(objects.Events[2].Data) != "{}" {
		t.Errorf("stored %s, %s and %s", objects.Events[0].Data, objects.Events[1].Data, objects.Events[2].Data)
	}
	var latest struct{ Results []struct{ Event event } }
	read("/orisun.EventStore/GetLatestByCriteria?data=object",
		`{"boundary": "orisun_test_1", "criteria": [{"tags": [{"key": "event_type", "value": "T"}]}]}`, &latest)
	if string(latest.Results[0].Event.Data) != "{}" {
		t.Errorf("the latest is %s", latest.Results[0].Event.Data)
	}
	if status, text := ask(t, http.MethodPost, base+getByHTTP+"?data=yes", "{}"); status != http.StatusBadRequest ||
		!strings.Contains(text, "object") {
		t.Errorf("data=yes: %d %s", status, text)
	}
}

func TestAnEmptyBodyIsAnEmptyRequest(t *testing.T) {
	server := launchWith(t)
	base := "http://" + server.http
	for path, c := range map[string]struct {
		status int
		text   string
	}{
		"/orisun.EventStore/Ping":                  {200, "{"},
		"/orisun.EventStore/GetServerInfo":         {200, "version"},
		"/orisun.Admin/ListBoundaries":             {200, "orisun_test_1"},
		"/orisun.Admin/ListUsers":                  {200, "admin"},
		"/orisun.Admin/GetUserCount":               {200, "1"},
		getByHTTP:                                  {400, "boundary: is required"},
		saveByHTTP:                                 {400, "boundary: is required"},
		subscribeByHTTP:                            {400, "boundary: is required"},
		"/orisun.EventStore/GetLatestByCriteria":   {400, "boundary: is required"},
		"/orisun.EventStore/CreateIndex":           {400, "name: is required"},
		"/orisun.EventStore/DropIndex":             {400, "name: is required"},
		"/orisun.EventStore/ListIndexes":           {400, "boundary: is required"},
		"/orisun.EventStore/GetIndex":              {400, "name: is required"},
		"/orisun.EventStore/Explain":               {400, "get_events: is required"},
		"/orisun.Admin/CreateBoundary":             {400, "name: is required"},
		"/orisun.Admin/GetBoundary":                {400, "name: is required"},
		"/orisun.Admin/CreateUser":                 {400, "username: is required"},
		"/orisun.Admin/DeleteUser":                 {400, "user_id: is required"},
		"/orisun.Admin/ChangeUserRoles":            {400, "user_id: is required"},
		"/orisun.Admin/SetUserPassword":            {400, "user_id: is required"},
		"/orisun.Admin/EndUserSessions":            {400, "user_id: is required"},
		"/orisun.Admin/SetUserBoundaryPermissions": {400, "user_id: is required"},
		"/orisun.Admin/ChangePassword":             {400, "user_id: is required"},
		"/orisun.Admin/ValidateCredentials":        {400, "username: is required"},
		"/orisun.Admin/CreateIndex":                {400, "name: is required"},
		"/orisun.Admin/DropIndex":                  {400, "name: is required"},
		"/orisun.Admin/GetEventCount":              {400, "boundary: is required"},
		"/orisun.Subscriptions/CreateSubscription": {400, "name: is required"},
		"/orisun.Subscriptions/ListSubscriptions":  {400, "boundary: is required"},
		"/orisun.Subscriptions/GetSubscription":    {400, "name: is required"},
		"/orisun.Subscriptions/DeleteSubscription": {400, "name: is required"},
		"/orisun.Subscriptions/ResetSubscription":  {400, "start: is required"},
		"/orisun.Subscriptions/ReadSubscription":   {400, "subscription: is required"},
		"/orisun.Subscriptions/Settle":             {400, "consumer_id: is required"},
		"/orisun.Subscriptions/ListParked":         {400, "subscription: is required"},
		"/orisun.Subscriptions/ReplayParked":       {400, "subscription: is required"},
		"/orisun.Subscriptions/SkipParked":         {400, "subscription: is required"},
		"/orisun.Subscriptions/WaitForCheckpoint":  {400, "position: is required"},
		"/orisun.Admin/ListConflicts":              {400, "boundary: is required"},
		"/orisun.Admin/ListSubscribers":            {400, "boundary: is required"},
	} {
		for _, header := range [][]string{
			nil, {"Content-Type", "application/json"}, {"Content-Type", "application/json", "Connect-Protocol-Version", "1"},
		} {
			for name, body := range map[string]io.Reader{
				"none": nil, "of unknown length": io.MultiReader(strings.NewReader("")),
			} {
				asked, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, body)
				if err != nil {
					t.Fatal(err)
				}
				asked.SetBasicAuth("admin", "changeit")
				for i := 0; i < len(header); i += 2 {
					asked.Header.Set(header[i], header[i+1])
				}
				response, err := http.DefaultClient.Do(asked)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(response.Body)
				if err == nil {
					err = response.Body.Close()
				}
				if err != nil || response.StatusCode != c.status || !strings.Contains(string(text), c.text) {
					t.Errorf("%s with the headers %v and the body %s: %d %s, %v, want %d with %s",
						path, header, name, response.StatusCode, text, err, c.status, c.text)
				}
			}
		}
	}
	if status, text := ask(t, http.MethodPost, base+"/orisun.EventStore/Ping", "", "Content-Type", "application/proto",
		"Connect-Protocol-Version", "1"); status != http.StatusOK {
		t.Errorf("Connect's Ping of zero bytes: %d %s", status, text)
	}
	if status, text := ask(t, http.MethodPost, base+"/orisun.EventStore/Ping", "", "Content-Type",
		"text/plain"); status != http.StatusUnsupportedMediaType {
		t.Errorf("an empty text: %d %s", status, text)
	}
}

func TestAQueryWithoutCriteriaIsTheWholeBoundaryByHTTP(t *testing.T) {
	server := launchWith(t)
	saving := 0
	save := func(query string) int {
		saving++
		status, _ := ask(t, http.MethodPost, "http://"+server.http+saveByHTTP,
			fmt.Sprintf(`{"boundary": "orisun_test_1", %s "events": [{"event_id": "%d", "event_type": "T"}]}`, query, saving))
		return status
	}
	for _, c := range []struct {
		query string
		want  int
	}{
		{``, 200},
		{`"query": {"expectedPosition": {"transactionId": -1, "globalId": -1}, "subsetQuery": {}},`, 409},
		{`"query": {"subset_query": {"criteria": []}},`, 409},
		{`"query": {"subsetQuery": null},`, 200},
		{`"query": {"expected_position": {"transaction_id": -1, "global_id": -1}},`, 200},
		{`"query": {},`, 200},
	} {
		if got := save(c.query); got != c.want {
			t.Errorf("%s answers %d, want %d", c.query, got, c.want)
		}
	}
}
