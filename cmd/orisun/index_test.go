package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

// output is what a command printed, on both ways out, and may be read while it runs.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// runClient runs a command line as main does, within the test.
func runClient(ctx context.Context, out io.Writer, args ...string) error {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(out)
	return execute(ctx, root)
}

func TestIndexesFromTheCommandLine(t *testing.T) {
	n := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(n.Dial(t)), "w", 0, 20)
	run := func(args ...string) string {
		t.Helper()
		var out output
		if err := runClient(t.Context(), &out, append(args, "--server", n.Address)...); err != nil {
			t.Fatalf("orisun %s: %v", strings.Join(args, " "), err)
		}
		// Times, sizes and the widths of columns differ from run to run, buffers from one PostgreSQL to the next.
		text := regexp.MustCompile(`(?m)[0-9.]+ ?(kB|B|ms|buffers)\b|since [0-9: -]+|\b[0-9]+$`).
			ReplaceAllString(out.String(), "…")
		return regexp.MustCompile(`  +`).ReplaceAllString(text, "  ")
	}
	want := func(args []string, lines ...string) {
		t.Helper()
		if diff := cmp.Diff(strings.Join(lines, "\n")+"\n", run(args...)); diff != "" {
			t.Errorf("orisun %s (-want +got):\n%s", strings.Join(args, " "), diff)
		}
	}
	const b = eventtest.Boundary
	want([]string{"index", "advise", b},
		"# every criterion that this node has served since it started has an index, and every index is used")
	want([]string{"explain", b, "--where", "writer=w", "--count", "2"},
		"CRITERION  INDEX  EVENTS  THROWN AWAY  BUFFERS",
		"writer=w  none: orisun_test_1_orisun_es_event_pkey  2  0  …",
		"2 events, …, planned in …, run in …")
	if _, err := orisunpb.NewEventStoreClient(n.Dial(t)).GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: b, Query: eventtest.Where("writer", "w"),
	}); err != nil {
		t.Fatal(err)
	}
	if got := run("index", "advise", b, "--min-queries", "1"); !strings.Contains(got,
		"\norisun index create orisun_test_1 writer --field writer\n") {
		t.Errorf("orisun index advise: %s", got)
	}

	for _, args := range [][]string{
		{"index", "create", b, "writer", "--field", "writer"},
		{
			"index", "create", b, "odd_n", "--field", "n:numeric", "--field", "event_type", "--where", "n>=3", "--where",
			"odd=true", "--any",
		},
	} {
		if got := run(args...); !strings.Contains(got, "is ready after") {
			t.Errorf("orisun %s: %s", strings.Join(args, " "), got)
		}
	}
	want([]string{"index", "list", b},
		"NAME  FIELDS  CONDITIONS  STATE  USED  SIZE",
		"odd_n  n:NUMERIC, event_type  n>=3 OR odd=true  READY  0  …",
		"writer  writer  -  READY  0  …")
	if got := run("index", "advise", b, "--min-age", "0s"); !strings.Contains(got,
		"\norisun index drop orisun_test_1 odd_n\n") || !strings.Contains(got, "\norisun index drop orisun_test_1 writer\n") {
		t.Errorf("orisun index advise: %s", got)
	}
	want([]string{
		"explain", b, "--desc", "--where", "writer=w", "--where", "odd=true", "--or", "--where", "note=x", "--or", "--where",
		"missing=1", "--count", "3",
	},
		"CRITERION  INDEX  EVENTS  THROWN AWAY  BUFFERS",
		"writer=w AND odd=true  orisun_test_1_writer_idx  3  2  …",
		"note=x  \"  ",
		"missing=1  none: orisun_test_1_orisun_es_event_pkey  0  20  …",
		"3 events, …, planned in …, run in …")
	if got := run("index", "list", b, "--json"); strings.Count(got, "\n") != 2 ||
		!strings.Contains(got, `"fields":[{"json_key":"writer","value_type":"TEXT"}]`) ||
		!strings.Contains(got, `"state":"READY"`) || !strings.Contains(got, `"scans":0`) {
		t.Errorf("list --json: %s", got)
	}
	if got := run("explain", b, "--where", "writer=w", "--json"); !strings.Contains(got, `"scans":[{"buffers":`) ||
		!strings.Contains(got, `"plan":{"Plan":{`) {
		t.Errorf("explain --json: %s", got)
	}
	if got := run("explain", b, "--where", "writer=w", "--plan"); !strings.Contains(got, `"Node Type"`) {
		t.Errorf("explain --plan: %s", got)
	}
	want([]string{"index", "drop", b, "writer"}, "dropped index writer of boundary orisun_test_1")
}

func TestAnInterruptedBuildShowsHowFarItWasAndIsGone(t *testing.T) {
	n := servertest.Start(t)
	pool, err := pgxpool.New(t.Context(), n.Database.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := tx.Exec(t.Context(), `SELECT txid_current()`); err != nil { // a build waits for this snapshot
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	var out output
	ended := make(chan error, 1)
	go func() {
		ended <- runClient(ctx, &out, "index", "create", eventtest.Boundary, "writer", "--field", "writer", "--server",
			n.Address)
	}()
	waitFor(t, func() bool { return strings.Contains(out.String(), "waiting for ") })
	interrupt()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
	waitFor(t, func() bool {
		var left bool
		if err := pool.QueryRow(t.Context(),
			`SELECT to_regclass('public.orisun_test_1_writer_idx') IS NOT NULL OR EXISTS (SELECT FROM orisun.boundary_index)`).
			Scan(&left); err != nil {
			t.Fatal(err)
		}
		return !left
	})
}

func TestWrongIndexCommandsSayWhatTheyNeed(t *testing.T) {
	n := servertest.Start(t)
	for _, c := range []struct {
		args    string
		misused bool
		want    string
	}{
		{"index create orders", true, "BOUNDARY and NAME"},
		{"index list", true, "orisun index list orders"},
		{"explain", true, "orisun explain orders"},
		{"index create orders x --field a --where amount", true, "amount>=10"},
		{"explain orders --after now", true, `--after is "now": it must be start or a position such as 42/41`},
		{"index create nowhere x --field a", false, "NOT_FOUND"},
		{"index create orisun_test_1 x", false, "fields: has 0 fields"},
		{"index drop orisun_test_1 x", false, "has no index"},
		{"explain orders --where a=1 --count 10001", false, "get_events.count"},
		{"explain orders --or", true, "between two --where"},
		{"explain orders --where a", true, "KEY=VALUE"},
		{
			"index create orders x --field n:INT", true,
			`--field is "n:INT": the type "INT" is none of TEXT, NUMERIC, BOOLEAN, TIMESTAMPTZ: write n:NUMERIC, or ` +
				`n:INT:TEXT if the key itself`,
		},
		{"index create orders x --field n:bolean", true, "write n:BOOLEAN"},
	} {
		err := runClient(t.Context(), &output{}, append(strings.Fields(c.args), "--server", n.Address)...)
		var misused usageError
		if err == nil || errors.As(err, &misused) != c.misused || !strings.Contains(err.Error(), c.want) {
			t.Errorf("orisun %s: got %v, want %q", c.args, err, c.want)
		}
	}
}

func TestConditionsAndFieldsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string][3]string{
		"a=b": {"a", "=", "b"}, "a==b": {"a", "=", "=b"}, "a>=10": {"a", ">=", "10"}, "a<=": {"a", "<=", ""},
		"a<b": {"a", "<", "b"}, "a>=b=c": {"a", ">=", "b=c"}, "ключ>1 2": {"ключ", ">", "1 2"},
	} {
		got, err := parseCondition(text)
		if err != nil || [3]string{got.GetKey(), got.GetOperator(), got.GetValue()} != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a =b", "a= b", " a=b", "a=b\t"} {
		if got, err := parseCondition(text); err == nil || !strings.Contains(err.Error(), `write "a=b"`) {
			t.Errorf("the condition %q is %v, %v", text, got, err)
		}
		if got, err := parseTag(text); err == nil || !strings.Contains(err.Error(), `write "a=b"`) {
			t.Errorf("the tag %q is %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"a": "a TEXT", "a:NUMERIC": "a NUMERIC", "a:b:boolean": "a:b BOOLEAN", "a::text": "a: TEXT", ":TEXT": " TEXT",
	} {
		got, err := parseField(text)
		if err != nil || got.GetJsonKey()+" "+got.GetValueType().String() != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
		if again, err := parseField(formatField(got)); err != nil || !proto.Equal(again, got) {
			t.Errorf("%v is printed as %s, which is %v, %v", got, formatField(got), again, err)
		}
	}
	for _, text := range []string{"a:b", "a:", "foo:INT", "a:NUMERIC ", "a :NUMERIC", " a"} {
		if got, err := parseField(text); err == nil || !strings.Contains(err.Error(), "write ") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}
