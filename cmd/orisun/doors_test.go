package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// runOrisun runs a client command of the real binary against a server.
func runOrisun(t *testing.T, server *process, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"ORISUN_URL=grpc://admin:changeit@" + server.address}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// runCurl is the curl of this machine; it answers the status and the body.
func runCurl(t *testing.T, server *process, method, body string) (status, answer string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "curl", "-sS", "-w", "\n%{http_code}", "-u", "admin:changeit", "-H",
		"Content-Type: application/json", "-d", body, "http://"+server.http+"/"+method).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v %s", err, out)
	}
	at := strings.LastIndexByte(string(out), '\n')
	return string(out[at+1:]), string(out[:at])
}

func TestTheSameCallByGrpcurlCurlAndCommandGivesTheSameAnswer(t *testing.T) {
	server := launchWith(t)
	if code, out, errOut := runOrisun(t, server, "", "save", "orisun_test_1", "--id", "a", "--type", "Opened", "--data",
		`{"holder": "alice", "big": 12345678901234567890}`); code != 0 || out != "saved 1 event, the last one at 1/0\n" {
		t.Fatalf("%d %s %s", code, out, errOut)
	}
	const query = `{"boundary": "orisun_test_1", "query": {"criteria": [{"tags": [{"key": "holder", "value": "alice"}]}]}}`
	byGrpcurl, byCurl := &orisunpb.GetEventsResponse{}, &orisunpb.GetEventsResponse{}
	_, text := runGrpcurl(t, server, "orisun.EventStore/GetEvents", query)
	if err := protojson.Unmarshal([]byte(text), byGrpcurl); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	status, text := runCurl(t, server, "orisun.EventStore/GetEvents", query)
	if err := protojson.Unmarshal([]byte(text), byCurl); err != nil || status != "200" {
		t.Fatalf("%s, %v in %s", status, err, text)
	}
	if !proto.Equal(byGrpcurl, byCurl) || len(byCurl.GetEvents()) != 1 || byCurl.GetEvents()[0].GetEventId() != "a" {
		t.Errorf("grpcurl %v\ncurl %v", byGrpcurl, byCurl)
	}
	code, out, errOut := runOrisun(t, server, "", "get", "orisun_test_1", "--where", "holder=alice", "--json")
	var byCommand struct {
		savedEvent
		Position    string    `json:"position"`
		DateCreated time.Time `json:"date_created"`
	}
	if err := json.Unmarshal([]byte(out), &byCommand); err != nil || code != 0 {
		t.Fatalf("%d %v %s %s", code, err, out, errOut)
	}
	want := byCurl.GetEvents()[0]
	if byCommand.EventID != want.GetEventId() || byCommand.EventType != want.GetEventType() ||
		string(byCommand.Data) != strings.NewReplacer(", ", ",", ": ", ":").Replace(want.GetData()) ||
		byCommand.Position != formatPosition(want.GetPosition()) ||
		!byCommand.DateCreated.Equal(want.GetDateCreated().AsTime()) {
		t.Errorf("the command answers %s, curl %v", out, want)
	}
}

func TestTheSameCallByGrpcurlCurlAndCommandGivesTheSameError(t *testing.T) {
	server := launchWith(t)
	if code, _, errOut := runOrisun(t, server, "", "save", "orisun_test_1", "--id", "a", "--type", "Opened", "--data",
		`{"holder": "alice"}`); code != 0 {
		t.Fatal(errOut)
	}
	const context = `"query": {"criteria": [{"tags": [{"key": "holder", "value": "alice"}]}]}, `
	for _, c := range []struct {
		name, request string
		args          []string
		code          codes.Code
		http          string
		detail        string // reason or field
		exit          int
	}{
		{
			"a changed context", `{"boundary": "orisun_test_1", ` + context + `"events": [{"event_id": "b", "event_type": ` +
				`"T", "data": "{}"}]}`,
			[]string{"orisun_test_1", "--id", "b", "--type", "T", "--where", "holder=alice"},
			codes.AlreadyExists, "409", "CONTEXT_CHANGED", exitContextChanged,
		},
		{
			"a reused id", `{"boundary": "orisun_test_1", "events": [{"event_id": "a", "event_type": "T", "data": "{}"}]}`,
			[]string{"orisun_test_1", "--id", "a", "--type", "T"},
			codes.FailedPrecondition, "400", "EVENT_ID_REUSED", exitFailed,
		},
		{
			"bad data", `{"boundary": "orisun_test_1", "events": [{"event_id": "b", "event_type": "T", "data": "nonsense"}]}`,
			[]string{"orisun_test_1", "--id", "b", "--type", "T", "--data", "nonsense"},
			codes.InvalidArgument, "400", "events[0].data", exitFailed,
		},
		{
			"an unknown boundary", `{"boundary": "nowhere", "events": [{"event_id": "b", "event_type": "T", "data": "{}"}]}`,
			[]string{"nowhere", "--id", "b", "--type", "T"},
			codes.NotFound, "404", "", exitFailed,
		},
	} {
		code, text := runGrpcurl(t, server, "orisun.EventStore/SaveEvents", c.request)
		if code != c.code || !strings.Contains(text, c.detail) {
			t.Errorf("%s by grpcurl: %v %s", c.name, code, text)
		}
		status, text := runCurl(t, server, "orisun.EventStore/SaveEvents", c.request)
		var refused struct {
			Code    string
			Message string
			Details []struct{ Type, Value string }
		}
		if err := json.Unmarshal([]byte(text), &refused); err != nil || status != c.http ||
			refused.Code != connectName(c.code) {
			t.Errorf("%s by curl: %s %s, %v", c.name, status, text, err)
		}
		if c.detail != "" && (len(refused.Details) != 1 ||
			!strings.Contains(detailText(t, refused.Details[0].Type, refused.Details[0].Value), c.detail)) {
			t.Errorf("%s by curl has no %s: %s", c.name, c.detail, text)
		}
		exit, _, errOut := runOrisun(t, server, "", append([]string{"save"}, c.args...)...)
		if exit != c.exit || !strings.Contains(errOut, strings.ToUpper(connectName(c.code))) ||
			!strings.Contains(errOut, c.detail) {
			t.Errorf("%s by the command: exit code %d, %s", c.name, exit, errOut)
		}
		if c.code != codes.InvalidArgument && !strings.Contains(errOut, refused.Message) {
			t.Errorf("%s: the command says %q, curl %q", c.name, errOut, refused.Message)
		}
	}
	if exit, _, errOut := runOrisun(t, server, "", "get", "a", "--server", "127.0.0.1:1"); exit != exitUnavailable ||
		!strings.Contains(errOut, "UNAVAILABLE") {
		t.Errorf("no server there: exit code %d, %s", exit, errOut)
	}
}

// connectName is a code as Connect writes it.
func connectName(code codes.Code) string {
	return map[codes.Code]string{
		codes.AlreadyExists: "already_exists", codes.FailedPrecondition: "failed_precondition",
		codes.InvalidArgument: "invalid_argument", codes.NotFound: "not_found",
	}[code]
}

func detailText(t *testing.T, name, value string) string {
	t.Helper()
	body, err := base64.RawStdEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	var detail proto.Message = &errdetails.ErrorInfo{}
	if strings.HasSuffix(name, "BadRequest") {
		detail = &errdetails.BadRequest{}
	}
	if err := proto.Unmarshal(body, detail); err != nil {
		t.Fatal(err)
	}
	return protojson.Format(detail)
}

func runGrpcurl(t *testing.T, server *process, method, request string) (codes.Code, string) {
	t.Helper()
	return runShell(t, fmt.Sprintf("grpcurl -plaintext -H 'Authorization: Basic YWRtaW46Y2hhbmdlaXQ=' -d '%s' "+
		"localhost:5005 %s", request, method), server.address)
}

func TestCommandsForPeopleAndForPipes(t *testing.T) {
	server := launchWith(t)
	run := func(stdin string, args ...string) string {
		t.Helper()
		code, out, errOut := runOrisun(t, server, stdin, args...)
		if code != 0 {
			t.Fatalf("orisun %v: exit code %d, %s", args, code, errOut)
		}
		return out
	}
	run(`{"event_id": "1", "event_type": "Opened", "data": {"holder": "alice", "n": 12345678901234567890}}
		{"event_id": "2", "event_type": "Opened", "data": "{\"holder\": \"bob\"}", "metadata": {"by": "test"}}`,
		"save", "orisun_test_1")
	if out := run("", "get", "orisun_test_1"); !strings.HasPrefix(out, "POSITION  TIME") ||
		!strings.Contains(out, "2/1 ") || strings.Count(out, "\n") != 3 {
		t.Errorf("the table is\n%s", out)
	}
	if out := run("", "get", "orisun_test_1", "--desc", "--count", "1", "--after", "2/1"); !strings.Contains(out,
		"2/0 ") || strings.Count(out, "\n") != 2 {
		t.Errorf("the page before the last event is\n%s", out)
	}
	run(run("", "get", "orisun_test_1", "--json"), "save", "orisun_test_2")
	undated := func(events string) string {
		return regexp.MustCompile(`"date_created":"[^"]*"`).ReplaceAllLiteralString(events, `"date_created":""`)
	}
	if a, b := run("", "get", "orisun_test_1", "--json"),
		run("", "get", "orisun_test_2", "--json"); !strings.Contains(b, "12345678901234567890") || undated(a) != undated(b) {
		t.Errorf("copied\n%sas\n%s", a, b)
	}
	if out := run("", "latest", "orisun_test_1", "--where", "holder=alice", "--or", "--where",
		"holder=carol"); !strings.Contains(out, "holder=alice  2/0") ||
		!strings.Contains(out, "holder=carol  none") || !strings.HasSuffix(out, "context position 2/0\n") {
		t.Errorf("the latest are\n%s", out)
	}
	var latest struct {
		Results         []struct{ Event savedEvent }
		ContextPosition string `json:"context_position"`
	}
	if err := json.Unmarshal([]byte(run("", "latest", "orisun_test_1", "--where", "holder=bob", "--json")),
		&latest); err != nil || latest.Results[0].Event.EventID != "2" || latest.ContextPosition != "2/1" {
		t.Errorf("%+v, %v", latest, err)
	}
	if out := run("", "save", "orisun_test_1", "--type", "Closed", "--data", `{"holder": "bob"}`, "--where", "holder=bob",
		"--expect", latest.ContextPosition, "--json"); out != `{"position":"3/2"}`+"\n" {
		t.Errorf("saved %s", out)
	}
	for args, want := range map[string]string{
		"save orisun_test_1 --type": "flag needs an argument", "save": "save needs BOUNDARY",
		"latest orisun_test_1":         "needs a criterion",
		"save orisun_test_1 --data {}": "--type", "get orisun_test_1 --after x": "--after", "bogus": "unknown command",
		"version x":                 "unknown command",
		"latest orisun_test_1 --or": "--or", "get orisun_test_1 --all --count 2": "all",
	} {
		if code, _, errOut := runOrisun(t, server, "", strings.Fields(args)...); code != exitMisconfigured ||
			!strings.Contains(errOut, want) {
			t.Errorf("orisun %s: exit code %d, %s", args, code, errOut)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := run("", "completion", shell); !strings.Contains(out, "__complete") {
			t.Errorf("there is no completion for %s", shell)
		}
	}
	if out := run("", "__complete", "save", "orisun_test_1", "--ex"); !strings.Contains(out, "--expect") {
		t.Errorf("--ex is completed by %s", out)
	}
}

func TestMigrateShowsWhatIsMissingAndDoesItOnce(t *testing.T) {
	env := environment(t.TempDir())
	for _, step := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"migrate", "--check"}, exitFailed, "it has version 0"},
		{[]string{"migrate"}, 0, "applied"},
		{[]string{"migrate"}, 0, "nothing to do"},
		{[]string{"migrate", "--check"}, 0, "up to date"},
	} {
		if code, output := runToEnd(t, env, step.args...); code != step.code || !strings.Contains(output, step.want) {
			t.Errorf("orisun %v: exit code %d, want %d with %q:\n%s", step.args, code, step.code, step.want, output)
		}
	}
}
