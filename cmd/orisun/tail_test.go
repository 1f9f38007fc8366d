package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

// tailing is a `orisun tail` that runs until interrupted.
type tailing struct {
	t         *testing.T
	lines     *bufio.Scanner
	said      output // on standard error
	interrupt context.CancelFunc
	ended     chan error
}

func runTail(t *testing.T, args ...string) *tailing {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	run := &tailing{t: t, lines: bufio.NewScanner(reader), interrupt: interrupt, ended: make(chan error, 1)}
	root := newRootCommand()
	root.SetArgs(append([]string{"tail"}, args...))
	root.SetOut(writer)
	root.SetErr(&run.said)
	go func() {
		run.ended <- execute(ctx, root)
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		interrupt()
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	})
	return run
}

func (r *tailing) line() string {
	r.t.Helper()
	if !r.lines.Scan() {
		r.t.Fatalf("tail ended: %v", <-r.ended)
	}
	return r.lines.Text()
}

func TestTailPrintsWhatIsStoredAndWhatComes(t *testing.T) {
	n := servertest.Start(t)
	client := orisunpb.NewEventStoreClient(n.Dial(t))
	eventtest.Save(t, client, "w", 0, 4)
	all := eventtest.Stored(t, client, nil)

	run := runTail(t, eventtest.Boundary, "--server", n.Address, "--after", "start")
	for i, e := range all {
		want := formatPosition(e.GetPosition()) + "  " + e.GetDateCreated().AsTime().
			Format("2006-01-02T15:04:05.000Z") + "  Written  " + e.GetEventId() + "  " + e.GetData()
		if got := run.line(); got != want {
			t.Errorf("line %d is\n%s, want\n%s", i, got, want)
		}
	}
	eventtest.Save(t, client, "later", 0, 1)
	if got := run.line(); !strings.Contains(got, "later-0") {
		t.Errorf("the next line is %s, want later-0", got)
	}
	run.interrupt()
	if err := <-run.ended; err != nil {
		t.Errorf("an interrupt ends tail with %v, want nothing", err)
	}
}

func TestTailBeginsWhereAskedAndShowsWhatMatches(t *testing.T) {
	n := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(n.Dial(t)), "w", 0, 6)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--after", "6/2"}, []string{"w-3", "w-4", "w-5"}},
		{[]string{"--after", "start", "--where", "odd=true"}, []string{"w-1", "w-3", "w-5"}},
		{[]string{"--after", "start", "--where", "odd=true", "--where", "n=3"}, []string{"w-3"}},
		{[]string{"--after=-1/-1", "--where", "event_type=Written", "--where", "n=5"}, []string{"w-5"}},
		{[]string{"--after", "start", "--where", "n=1", "--or", "--where", "n=4"}, []string{"w-1", "w-4"}},
	} {
		run := runTail(t, append([]string{eventtest.Boundary, "--server", n.Address, "--json"}, c.args...)...)
		var got []string
		for range c.want {
			var event struct {
				EventID string `json:"event_id"`
			}
			if err := json.Unmarshal([]byte(run.line()), &event); err != nil {
				t.Fatal(err)
			}
			got = append(got, event.EventID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestTailPrintsJSONThatKeepsEveryDigit(t *testing.T) {
	n := servertest.Start(t)
	_, err := orisunpb.NewEventStoreClient(n.Dial(t)).SaveEvents(t.Context(),
		&orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{
			{EventId: "1", EventType: "T", Data: `{"big": 12345678901234567890.10, "text": "<a>\n"}`, Metadata: `{"by": "me"}`},
		}})
	if err != nil {
		t.Fatal(err)
	}
	line := runTail(t, eventtest.Boundary, "--server", n.Address, "--json", "--after", "start").line()
	for _, part := range []string{`"position":"1/0"`, `"event_id":"1"`, `"event_type":"T"`, `"metadata":{"by":"me"}`} {
		if !strings.Contains(line, part) {
			t.Errorf("%s\nlacks %s", line, part)
		}
	}
	if !strings.Contains(line, `"data":{"big":12345678901234567890.10,"text":"<a>\n"}`) {
		t.Errorf("%s\nchanges the data", line)
	}
}

func TestTailSaysWhatIsWrong(t *testing.T) {
	n := servertest.Start(t)
	server := "--server=" + n.Address
	for _, c := range []struct {
		args []string
		want string // part of the message
		exit int
	}{
		{[]string{}, "tail needs BOUNDARY, such as: orisun tail orders", exitMisconfigured},
		{[]string{"a", "b"}, "tail needs BOUNDARY, such as: orisun tail orders", exitMisconfigured},
		{[]string{"a", "--after", "yesterday"}, `--after is "yesterday"`, exitMisconfigured},
		{[]string{"a", "--after", "1/2/3"}, `--after is "1/2/3"`, exitMisconfigured},
		{[]string{"a", "--where", "open"}, `--where is "open"`, exitMisconfigured},
		{[]string{"a", "--where", "eventType = Num"}, `--where is "eventType = Num"`, exitMisconfigured},
		{[]string{"a", "--cert", "c.pem"}, "--cert and --key", exitMisconfigured},
		{[]string{"a", "--cacert", "/nowhere.pem"}, "--cacert", exitMisconfigured},
		{[]string{"nowhere", server}, `NOT_FOUND: boundary 'nowhere' does not exist`, exitFailed},
		{[]string{strings.Repeat("x", 27), server}, "INVALID_ARGUMENT\n  boundary: has 27 bytes", exitFailed},
		{
			[]string{eventtest.Boundary, server, "--user", "stranger"},
			"UNAUTHENTICATED: wrong password, or no such user",
			exitFailed,
		},
		{
			[]string{eventtest.Boundary, "--server", "127.0.0.1:1"},
			"UNAVAILABLE: no server answers at 127.0.0.1:1",
			exitUnavailable,
		},
		{[]string{eventtest.Boundary, "--server", "127.0.0.1:1", "--after", "start"}, "UNAVAILABLE", exitUnavailable},
	} {
		err := <-runTail(t, c.args...).ended
		exit := exitCode(err)
		if err == nil || !strings.Contains(err.Error(), c.want) || exit != c.exit {
			t.Errorf("tail %v ends with %v (exit code %d), want %q (%d)", c.args, err, exit, c.want, c.exit)
		}
	}
}

func TestTailGivesUpAfterItsTimeoutAndSaysWhereToGoOn(t *testing.T) {
	n := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(n.Dial(t)), "w", 0, 2)
	run := runTail(t, eventtest.Boundary, "--server", n.Address, "--after", "start", "--timeout", "1s")
	run.line()
	run.line()
	n.Stop()
	err := <-run.ended
	if exitCode(err) != exitUnavailable || !strings.HasPrefix(err.Error(), "UNAVAILABLE: ") ||
		!strings.HasSuffix(err.Error(), "within --timeout 1s: go on with --after 2/1") {
		t.Errorf("tail ends with %v", err)
	}
}

// Whether or not an event came before the server went away, tail prints those that were stored meanwhile, each once.
func TestTailConnectsAgainAndMissesNothing(t *testing.T) {
	config := pgtest.NewEmpty(t)
	port := "ORISUN_GRPC_PORT=" + strconv.Itoa(freePort(t))
	data := t.TempDir()
	first := launch(t, environment(data, append(outside(config), port)...))
	fresh, resumed := runTail(t, eventtest.Boundary, "--server", first.address, "--where", "n=2"),
		runTail(t, eventtest.Boundary, "--server", first.address, "--after", "start")
	eventtest.Save(t, connect(t, first.address), "w", 0, 2)
	resumed.line()
	resumed.line()
	waitFor(t, func() bool {
		_, text := ask(t, http.MethodGet, "http://"+first.http+"/metrics", "")
		return regexp.MustCompile(`(?m)^orisun_feed_subscribers\{.*orisun_boundary="orisun_test_1".*\} 2$`).MatchString(text)
	})
	first.stop(t, syscall.SIGTERM)
	for _, run := range []*tailing{fresh, resumed} {
		waitFor(t, func() bool { return strings.Contains(run.said.String(), "connecting again, to go on after ") })
	}

	// What is stored while the port is free comes from another node.
	other := launch(t, environment(t.TempDir(), append(outside(config), "ORISUN_NATS_SERVER_NAME=other")...))
	eventtest.Save(t, connect(t, other.address), "w", 2, 1)
	launch(t, environment(data, append(outside(config), port)...))
	if got := fresh.line(); !strings.Contains(got, "  w-2  ") {
		t.Errorf("the first event is %s, want w-2", got)
	}
	if got := resumed.line(); !strings.Contains(got, "  w-2  ") {
		t.Errorf("the next event is %s, want w-2", got)
	}
	for _, run := range []*tailing{fresh, resumed} {
		waitFor(t, func() bool { return strings.Contains(run.said.String(), "connected again after ") })
		if said := run.said.String(); strings.Count(said, "connecting again") != 1 {
			t.Errorf("tail said %q", said)
		}
		run.interrupt()
		if err := <-run.ended; err != nil {
			t.Errorf("an interrupt ends tail with %v", err)
		}
	}
}

func TestALineSpeaksToNoTerminal(t *testing.T) {
	var out strings.Builder
	err := writeEventLine(&out, &orisunpb.Event{
		EventType: "a\x1b[2Jb\nc", EventId: "\u202e1", Data: "{\"a\": \"\u009b31m é 日本 \\\"\"}",
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "a\\x1b[2Jb\\nc  \\u202e1  {\"a\": \"\\u009b31m é 日本 \\\"\"}\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the line is %q, want it to end with %q", out.String(), want)
	}
}

func TestWhereAServerIsAndWhoComes(t *testing.T) {
	for name, c := range map[string]struct {
		flags       []string
		environment map[string]string
		want        connection
	}{
		"nothing": {nil, nil, connection{server: "localhost:5005", user: "admin", password: "changeit"}},
		"a URL": {
			nil,
			map[string]string{"ORISUN_URL": "grpcs://ann:s%40@db.example:7000"},
			connection{server: "db.example:7000", user: "ann", password: "s@", tls: true},
		},
		"a short URL": {
			nil,
			map[string]string{"ORISUN_URL": "example", "ORISUN_ADMIN_USERNAME": "bob", "ORISUN_ADMIN_PASSWORD": "b"},
			connection{server: "example:5005", user: "bob", password: "b"},
		},
		"a URL of a cluster": {
			nil,
			map[string]string{"ORISUN_URL": "grpcs://ann:s%40@db1,db2.example:7000,[::1]/"},
			connection{server: "db1:5005,db2.example:7000,[::1]:5005", user: "ann", password: "s@", tls: true},
		},
		"a cluster by flag": {
			[]string{"--server", "db1:1,db2"}, nil, connection{server: "db1:1,db2:5005", user: "admin", password: "changeit"},
		},
		"a flag beside a URL": {
			[]string{"--server", "[::1]:9"},
			map[string]string{"ORISUN_URL": "grpcs://ann:secret@db.example"},
			connection{server: "[::1]:9", user: "ann", password: "secret"},
		},
		"another user than the URL's, whose password is not hers": {
			[]string{"--user", "eve"},
			map[string]string{"ORISUN_URL": "ann:secret@db.example", "ORISUN_ADMIN_PASSWORD": "eves"},
			connection{server: "db.example:5005", user: "eve", password: "eves"},
		},
		"flags alone": {
			[]string{"--server", "::1", "--user", "eve", "--ask-password", "--cacert", "ca.pem"},
			nil,
			connection{server: "[::1]:5005", user: "eve", password: "changeit", ask: true, tls: true, caCert: "ca.pem"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			flags := (&cobra.Command{}).Flags()
			got := addConnectionFlags(flags)
			if err := flags.Parse(c.flags); err != nil {
				t.Fatal(err)
			}
			if err := got.complete(func(name string) (string, bool) {
				value, found := c.environment[name]
				return value, found
			}); err != nil {
				t.Fatal(err)
			}
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
		})
	}
	for _, url := range []string{
		"http://ann:secret@x", "grpc://", "ann:sec ret@:%", "ann:secret@host/path", "grpc://ann:secret@host?q",
		"ann:secret@a,", "ann:secret@a,,b", "ann:secret@a/,b", "ann:secret@a,b:x",
	} {
		c := connection{}
		err := c.complete(func(name string) (string, bool) { return url, name == "ORISUN_URL" })
		if err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v; want an error that does not repeat it", url, err)
		}
	}
}
