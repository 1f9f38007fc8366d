package bench

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update if it is right now):\n%s", path, diff)
	}
}

// sample is a report with fixed numbers.
func sample() Report {
	row := func(workload, auth string, clients int, perSecond float64, p50, p99 float64) Result {
		return Result{
			Workload: workload, Auth: auth, Clients: clients, Repeat: 1, Seconds: 6, Requests: int64(6 * perSecond), Events: int64(6 * perSecond),
			RequestsPerSecond: perSecond, EventsPerSecond: perSecond, P50: p50, P95: p99 / 2, P99: p99, Max: 2 * p99,
		}
	}
	r := Report{
		Environment: Environment{
			Server: "v1.2.3 abc", Client: "linux/amd64, 2 CPUs, go1.26", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			PostgreSQL: &PostgreSQL{
				Version: "15.18", Fsync: "on", SynchronousCommit: "on", FullPageWrites: "on", WALSyncMethod: "fdatasync",
				Commit: Timing{P50: 0.4, P99: 1.25},
			},
			PeakMemory: 100 << 20,
		},
		Settings: Settings{Boundary: "b", Connections: 1, SeedEvents: 100_000, Contexts: 10_000, Payload: 256, Seed: 7, WarmUp: 2, Duration: 6},
		Results: []Result{
			row(pgbench, "", 1, 2000, 0, 0), row(pgbench, "", 16, 8000, 0, 0),
			row("append-1", AuthToken, 1, 1200.25, 0.8125, 2.5), row("append-1", AuthToken, 16, 4000, 3.75, 12),
			row("append-1", AuthToken, 256, 12_000, 20, 88.125), row("hot", AuthToken, 64, 900, 10, 20), row("hot/conflicts", AuthToken, 64, 5000, 10, 20),
			row("ping", AuthToken, 256, 16_000, 15, 30), row("ping", AuthBasic, 256, 15_000, 15, 30),
		},
		Outbox: &Outbox{WorstLag: 150.5, Drained: 1200},
	}
	r.Results[5].Starved = 250
	r.Results[4].Rate, r.Results[4].Failures = 12_500, map[string]int64{"UNAVAILABLE": 20, "INTERNAL": 1}
	r.Results[4].examples = map[string]string{"UNAVAILABLE": "away", "INTERNAL": "broken"}
	return r
}

func TestReportsAreWrittenAsTheyWere(t *testing.T) {
	for name, write := range map[string]func(Report, *bytes.Buffer) error{
		"report.txt":  func(r Report, out *bytes.Buffer) error { return r.WriteTable(out) },
		"report.json": func(r Report, out *bytes.Buffer) error { return r.WriteJSON(out) },
		"report.csv":  func(r Report, out *bytes.Buffer) error { return WriteCSV(out, r.Results) },
		"ratios.txt":  func(r Report, out *bytes.Buffer) error { return WriteRatios(out, compareRatios(r)) },
		"section.md": func(r Report, out *bytes.Buffer) error {
			_, err := out.WriteString(section(r, compareRatios(r)))
			return err
		},
	} {
		var out bytes.Buffer
		if err := write(sample(), &out); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestWhatIsNotMeasuredIsToldSo(t *testing.T) {
	var out bytes.Buffer
	if err := (Report{}).WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PostgreSQL  not measured: give --pg", "fsync       not measured: give --fsync-dir", "server      does not tell its version"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestCSVReadsAsItWasWritten(t *testing.T) {
	var table bytes.Buffer
	want := sample().Results
	if err := WriteCSV(&table, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCSV(&table)
	if err != nil {
		t.Fatal(err)
	}
	rounded := cmpopts.EquateApprox(0, 0.06)
	if diff := cmp.Diff(want, got, rounded, cmpopts.IgnoreFields(Result{}, "Failures", "examples")); diff != "" {
		t.Error(diff)
	}
}

func TestABadCSVIsRefusedWithItsPlace(t *testing.T) {
	var table bytes.Buffer
	if err := WriteCSV(&table, sample().Results[:2]); err != nil {
		t.Fatal(err)
	}
	good := table.String()
	for name, c := range map[string]struct{ table, want string }{
		"empty":           {"", "the first line has to be workload,auth"},
		"other columns":   {strings.Replace(good, "auth", "who", 1), "the first line has to be workload,auth"},
		"no number":       {strings.Replace(good, "8000.0", "many", 1), "line 3: requests_per_second"},
		"a field missing": {strings.Replace(good, ",,1,1,", ",1,1,", 1), "wrong number of fields"},
	} {
		if _, err := ReadCSV(strings.NewReader(c.table)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARatioIsMetFromItsTargetOn(t *testing.T) {
	for _, c := range []struct {
		ratio   Ratio
		met     bool
		verdict string
	}{
		{Ratio{Value: 0.5, Target: 0.5, Measured: true}, true, "met"},
		{Ratio{Value: 0.49, Target: 0.5, Measured: true}, false, "**missed**"},
		{Ratio{Value: 4, Target: 4, AtMost: true, Measured: true}, true, "met"},
		{Ratio{Value: 4.1, Target: 4, AtMost: true, Measured: true}, false, "**missed**"},
		{Ratio{Value: 0.1, Target: 4, AtMost: true}, false, ""},
		{Ratio{Value: 9, Measured: true}, true, ""},
	} {
		if c.ratio.Met() != c.met || c.ratio.verdict() != c.verdict {
			t.Errorf("%+v: met %v, verdict %q", c.ratio, c.ratio.Met(), c.ratio.verdict())
		}
	}
}

func TestTheMedianOfRepetitionsCounts(t *testing.T) {
	point := func(perSecond float64) Result {
		return Result{Workload: "ping", Auth: AuthToken, Clients: 1, RequestsPerSecond: perSecond}
	}
	for _, c := range []struct {
		results []Result
		want    quantity
	}{
		{[]Result{point(30), point(10), point(20)}, quantity{20, true}},
		{[]Result{point(30), point(10)}, quantity{20, true}},
		{[]Result{{Workload: "ping", Auth: AuthBasic, Clients: 1}, {Workload: "ping", Auth: AuthToken, Clients: 2}}, quantity{}},
	} {
		if got := medians(c.results).of("ping", AuthToken, 1, requestsPerSecond); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func TestTheGeneratedSectionLeavesTheRestAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	for i, step := range []struct{ generated, want string }{
		{"one\n", "# Benchmarks\n\n" + sectionBegin + "\none\n" + sectionEnd + "\n"},
		{"two\n", "# Benchmarks\n\n" + sectionBegin + "\ntwo\n" + sectionEnd + "\n"},
	} {
		if err := writeSection(path, step.generated); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Errorf("step %d: %v\n%s", i, err, got)
		}
	}
	if got, err := replaceSection("a\n"+sectionBegin+"\nx\n"+sectionEnd+"\nb\n", "y\n"); err != nil || got != "a\n"+sectionBegin+"\ny\n"+sectionEnd+"\nb\n" {
		t.Errorf("%v: %s", err, got)
	}
	if _, err := replaceSection("a\n"+sectionBegin+"\nprecious words\n", "y\n"); err == nil {
		t.Error("a section without an end is replaced, with everything that follows it")
	}
}

func TestPgbenchIsReadInEachVersion(t *testing.T) {
	for name, out := range map[string]string{
		"13": "number of transactions actually processed: 6123\nlatency average = 2.6 ms\ntps = 1010.5 (including connections establishing)\ntps = 1020.5 (excluding connections establishing)\n",
		"15": "number of transactions actually processed: 6123\nnumber of failed transactions: 0 (0.000%)\nlatency average = 2.6 ms\ninitial connection time = 3 ms\ntps = 1020.5 (without initial connection time)\n",
	} {
		if perSecond, n, err := readPgbench(out); err != nil || perSecond != 1020.5 || n != 6123 {
			t.Errorf("%s: %v a second, %d, %v", name, perSecond, n, err)
		}
	}
	if _, _, err := readPgbench("nothing"); err == nil {
		t.Error("an output without a rate is taken")
	}
}
