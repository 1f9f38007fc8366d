package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

// What is allowed and probably a mistake is said by the command, by the answer of the RPC and in the log.
func TestProbableMistakesAreSaid(t *testing.T) {
	server := launch(t, environment(t.TempDir(), outside(pgtest.NewEmpty(t))...))
	store := connect(t, server.address)
	index := func(name, key string) []string {
		t.Helper()
		answer, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
			Boundary: eventtest.Boundary, Name: name, Fields: []*orisunpb.IndexField{{JsonKey: key}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetWarnings()
	}
	if got := index("early", "anything"); len(got) != 0 {
		t.Errorf("an index of a boundary without events: %q", got)
	}
	eventtest.Save(t, store, "w", 0, 3)
	want := []string{
		`none of the latest 1000 events of boundary orisun_test_1 has the key "writr"; did you mean "writer"?`,
	}
	if diff := cmp.Diff(want, index("misspelt", "writr")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, key := range []string{"writer", "eventType"} {
		if got := index("by_"+key, key); len(got) != 0 {
			t.Errorf("an index on %s: %q", key, got)
		}
	}
	code, _, errOut := runOrisun(t, server, "", "index", "create", eventtest.Boundary, "x", "--field", "od",
		"--where", "zzz=1")
	if code != 0 || !strings.Contains(errOut,
		`warning: none of the latest 1000 events of boundary orisun_test_1 has the key "zzz"`) ||
		strings.Count(errOut, "warning: ") != 2 {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	_, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: eventtest.Boundary, Name: "spaces", Fields: []*orisunpb.IndexField{{JsonKey: " n"}},
		Conditions: []*orisunpb.IndexCondition{{Key: "eventType ", Operator: "=", Value: " Num"}},
	})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `fields[0].json_key: is " n"`) ||
		!strings.Contains(err.Error(), `conditions[0].key: is "eventType "`) ||
		!strings.Contains(err.Error(), `conditions[0].value: is " Num": space around it counts, too; write "Num"`) {
		t.Errorf("spaces around keys and values: %v", err)
	}

	code, _, errOut = runOrisun(t, server, "s3cret-1\n", "user", "create", "jane", "--role", "read:orisun_test", "--role",
		"write:orisun_test_1")
	if code != 0 || errOut != `warning: the role "read:orisun_test" grants nothing yet: there is no boundary `+
		`"orisun_test"; did you mean "orisun_test_1"?`+"\n" {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	code, _, errOut = runOrisun(t, server, "", "user", "roles", "jane", "read:nope", "user")
	if code != 0 || errOut != `warning: the role "read:nope" grants nothing yet: there is no boundary "nope"`+"\n" {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	for _, line := range []string{
		`"msg":"a role is for a boundary that does not exist","user":"jane","role":"read:nope"`,
		`"msg":"an index has a key that none of the latest events ` +
			`has","boundary":"orisun_test_1","index":"misspelt","key":"writr"`,
	} {
		if !strings.Contains(server.logged(), line) {
			t.Errorf("the log lacks %s", line)
		}
	}

	for _, schema := range []string{"orisun", "orisun_boundary"} {
		if code, _, errOut := runOrisun(t, server, "", "boundary", "create", "orders", "--schema",
			schema); code != exitFailed || !strings.Contains(errOut, "belongs to Orisun") {
			t.Errorf("a boundary in schema %s: exit code %d, %s", schema, code, errOut)
		}
		if code, output := runToEnd(t, []string{
			"ORISUN_PG_SCHEMAS=orders:" + schema + ",orisun_admin:admin",
		}); code != exitMisconfigured || !strings.Contains(output, "belongs to Orisun") {
			t.Errorf("a configured boundary in schema %s: exit code %d, %s", schema, code, output)
		}
	}
}

func TestAdviceSaysHowOftenAndOverWhichTime(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }
	list := &orisunpb.ListIndexesResponse{
		Advice: []*orisunpb.IndexAdvice{
			{
				Keys: []string{"user id"}, Count: 25, Since: ago(3 * time.Minute),
				Create: &orisunpb.CreateIndexRequest{Name: "user_id", Fields: []*orisunpb.IndexField{{JsonKey: "user id"}}},
			},
			{
				Keys: []string{"n"}, Count: 1, Since: ago(2 * time.Second),
				Create: &orisunpb.CreateIndexRequest{Name: "n", Fields: []*orisunpb.IndexField{{JsonKey: "n"}}},
			},
		},
		Usage: []*orisunpb.IndexUsage{
			{Name: "new", SizeBytes: 16384, CountedSince: ago(time.Minute)},
			{Name: "old", SizeBytes: 16384, CountedSince: ago(25 * time.Hour)},
			{Name: "used", Scans: 1, CountedSince: ago(25 * time.Hour)},
		},
	}
	wait := []string{
		"# no index for criteria on n: 1 query on this node in 2s, since 2026-11-29 11:59:58 UTC; too few to advise one " +
			"(--min-queries 10)\n",
		"# index new (16.0 kB) was not used in 1m0s, since 2026-11-29 11:59:00 UTC; too early to call it unused (--min-age " +
			"24h0m0s)\n",
	}
	want := "# no index for criteria on user id: 25 queries on this node in 3m0s, since 2026-11-29 11:57:00 UTC\norisun " +
		"index create orders user_id --field 'user id'\n" + wait[0] + wait[1] +
		"# index old (16.0 kB) was not used in 25h0m0s, since 2026-11-28 11:00:00 UTC\norisun index drop orders old\n"
	var out strings.Builder
	if err := writeAdvice(&out, false, advise("orders", list, defaultMinQueries, defaultMinAge, now)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all := advise("orders", list, 1, 0, now); len(all) != 4 || all[1].Advice != "create" || all[2].Advice != "drop" {
		t.Errorf("without limits the advice is %v", all)
	}
}

// The three indexes of a minute ago are not called unused, and a single query is no reason for one.
func TestAdviceOnARealServerWaits(t *testing.T) {
	n := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(n.Dial(t)), "w", 0, 2)
	if err := runClient(context.Background(), &output{}, "index", "create", eventtest.Boundary, "n", "--field", "n",
		"--server", n.Address); err != nil {
		t.Fatal(err)
	}
	advice := func(more ...string) string {
		t.Helper()
		var out output
		if err := runClient(t.Context(), &out,
			append([]string{"index", "advise", eventtest.Boundary, "--server", n.Address}, more...)...); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for i := range defaultMinQueries {
		if _, err := orisunpb.NewEventStoreClient(n.Dial(t)).GetEvents(t.Context(), &orisunpb.GetEventsRequest{
			Boundary: eventtest.Boundary, Query: eventtest.Where("writer", "w"),
		}); err != nil {
			t.Fatal(err)
		}
		if got := advice(); i < defaultMinQueries-1 && strings.Contains(got, "\norisun index") {
			t.Errorf("after %d queries:\n%s", i+1, got)
		}
	}
	if got := advice(); !strings.Contains(got, "10 queries on this node in ") ||
		!strings.Contains(got, "\norisun index create orisun_test_1 writer --field writer\n") ||
		strings.Contains(got, "index drop") {
		t.Errorf("after 10 queries:\n%s", got)
	}
	if got := advice("--min-age", "0s"); !strings.Contains(got, "\norisun index drop orisun_test_1 n\n") {
		t.Errorf("with --min-age 0s:\n%s", got)
	}
	if got := advice("--json"); strings.Count(got, "\n") != 2 ||
		!strings.Contains(got, `{"advice":"create","reason":"no index for criteria on writer: `) ||
		!strings.Contains(got, `{"advice":"wait",`) {
		t.Errorf("with --json:\n%s", got)
	}
}
