package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oexza/orisun/cmd/orisun/bench"
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

// sample has the fixed numbers of the report that the load generator's tests write.
func sample(t *testing.T) measured {
	t.Helper()
	content, err := os.ReadFile("../orisun/bench/testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	m := measured{
		outbox: &outboxLag{worst: 150500 * time.Microsecond, drained: 1200 * time.Millisecond}, peakMemory: 100 << 20,
	}
	if err := json.Unmarshal(content, &m.Report); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestComparisonsAreWrittenAsTheyWere(t *testing.T) {
	m := sample(t)
	var ratios bytes.Buffer
	if err := writeRatios(&ratios, m.ratios()); err != nil {
		t.Fatal(err)
	}
	golden(t, "ratios.txt", ratios.String())
	golden(t, "section.md", section(m))
}

func TestARatioIsMetFromItsTargetOn(t *testing.T) {
	for _, c := range []struct {
		ratio   ratio
		met     bool
		verdict string
	}{
		{ratio{value: 0.5, target: 0.5, measured: true}, true, "met"},
		{ratio{value: 0.49, target: 0.5, measured: true}, false, "**missed**"},
		{ratio{value: 4, target: 4, atMost: true, measured: true}, true, "met"},
		{ratio{value: 4.1, target: 4, atMost: true, measured: true}, false, "**missed**"},
		{ratio{value: 0.1, target: 4, atMost: true}, false, ""},
		{ratio{value: 9, measured: true}, true, ""},
	} {
		if c.ratio.isMet() != c.met || c.ratio.verdict() != c.verdict {
			t.Errorf("%+v: met %v, verdict %q", c.ratio, c.ratio.isMet(), c.ratio.verdict())
		}
	}
}

func TestTheMedianOfRepetitionsCounts(t *testing.T) {
	point := func(perSecond float64) bench.Result {
		return bench.Result{Workload: "ping", Auth: bench.AuthToken, Clients: 1, RequestsPerSecond: perSecond}
	}
	for _, c := range []struct {
		results []bench.Result
		want    quantity
	}{
		{[]bench.Result{point(30), point(10), point(20)}, quantity{20, true}},
		{[]bench.Result{point(30), point(10)}, quantity{20, true}},
		{[]bench.Result{
			{Workload: "ping", Auth: bench.AuthBasic, Clients: 1}, {Workload: "ping", Auth: bench.AuthToken, Clients: 2},
		}, quantity{}},
	} {
		if got := medians(c.results).of("ping", bench.AuthToken, 1, requestsPerSecond); got != c.want {
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
	if got, err := replaceSection("a\n"+sectionBegin+"\nx\n"+sectionEnd+"\nb\n", "y\n"); err != nil ||
		got != "a\n"+sectionBegin+"\ny\n"+sectionEnd+"\nb\n" {
		t.Errorf("%v: %s", err, got)
	}
	if _, err := replaceSection("a\n"+sectionBegin+"\nprecious words\n", "y\n"); err == nil {
		t.Error("a section without an end is replaced, with everything that follows it")
	}
}

func TestPgbenchIsReadInEachVersion(t *testing.T) {
	for name, out := range map[string]string{
		"13": "number of transactions actually processed: 6123\nlatency average = 2.6 ms\ntps = 1010.5 (including " +
			"connections establishing)\ntps = 1020.5 (excluding connections establishing)\n",
		"15": "number of transactions actually processed: 6123\nnumber of failed transactions: 0 (0.000%)\nlatency average " +
			"= 2.6 ms\ninitial connection time = 3 ms\ntps = 1020.5 (without initial connection time)\n",
	} {
		if perSecond, n, err := readPgbench(out); err != nil || perSecond != 1020.5 || n != 6123 {
			t.Errorf("%s: %v a second, %d, %v", name, perSecond, n, err)
		}
	}
	if _, _, err := readPgbench("nothing"); err == nil {
		t.Error("an output without a rate is taken")
	}
}
