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
			Workload: workload, Auth: auth, Clients: clients, Repeat: 1, Seconds: 6, Requests: int64(6 * perSecond),
			Events:            int64(6 * perSecond),
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
		},
		Settings: Settings{
			Boundary: "b", Connections: 1, SeedEvents: 100_000, Contexts: 10_000, Payload: 256, Seed: 7, WarmUp: 2, Duration: 6,
		},
		Results: []Result{
			row("pgbench", "", 1, 2000, 0, 0), row("pgbench", "", 16, 8000, 0, 0),
			row("append-1", AuthToken, 1, 1200.25, 0.8125, 2.5), row("append-1", AuthToken, 16, 4000, 3.75, 12),
			row("append-1", AuthToken, 256, 12_000, 20, 88.125), row("hot", AuthToken, 64, 900, 10, 20),
			row("hot/conflicts", AuthToken, 64, 5000, 10, 20),
			row("ping", AuthToken, 256, 16_000, 15, 30), row("ping", AuthBasic, 256, 15_000, 15, 30),
		},
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
	} {
		var out bytes.Buffer
		if err := write(sample(), &out); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestAReportSaysWhatIsNotMeasured(t *testing.T) {
	var out bytes.Buffer
	if err := (Report{}).WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"PostgreSQL  not measured: give --pg", "fsync       not measured: give --fsync-dir",
		"server      does not report its version",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
