package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// line is the output after a round.
func line(r *result, dir string) string {
	injected := 0
	for _, n := range r.faults {
		injected += n
	}
	text := fmt.Sprintf("seed %d: %s, %d faults, %d saves, %d conflicts, %d reads, %d of unknown outcome, %d "+
		"deliveries, %d to consumers (%d again, %d late, %d epochs), no save answered for %s: ",
		r.seed, r.took.Round(100*time.Millisecond), injected, r.saves, r.conflicts, r.reads, r.unknown, r.deliveries,
		r.consumed, r.again, r.stale, r.epochs, r.pause.Round(10*time.Millisecond))
	if len(r.anomalies) == 0 {
		return text + "no anomaly"
	}
	const shown = 12
	text += fmt.Sprintf("%d ANOMALIES\n  %s",
		len(r.anomalies), strings.Join(r.anomalies[:min(len(r.anomalies), shown)], "\n  "))
	return text + fmt.Sprintf("\n  logs and histories: %s\n  once more: make torture TORTURE='--seed %d'", dir, r.seed)
}

// total sums up the rounds.
func total(results []*result) (all result) {
	all.faults = map[string]int{}
	for _, r := range results {
		all.took += r.took
		all.saves += r.saves
		all.conflicts += r.conflicts
		all.reads += r.reads
		all.unknown += r.unknown
		all.retried += r.retried
		all.events += r.events
		all.datedBack += r.datedBack
		all.deliveries += r.deliveries
		all.streams += r.streams
		all.looks += r.looks
		all.consumed += r.consumed
		all.again += r.again
		all.stale += r.stale
		all.epochs += r.epochs
		all.joined += r.joined
		all.undecided += r.undecided
		all.anomalies = append(all.anomalies, r.anomalies...)
		for name, n := range r.faults {
			all.faults[name] += n
		}
	}
	return all
}

func summary(results []*result) string {
	all := total(results)
	return fmt.Sprintf("%d seeds: %d events, %d reads, %d deliveries, %d to consumers (%d again, %d late, %d epochs, %d "+
		"streams), %d anomalies\n",
		len(results), all.events, all.reads, all.deliveries, all.consumed, all.again, all.stale, all.epochs, all.joined,
		len(all.anomalies))
}

// report is the section of docs/reliability.md for a long run.
func report(results []*result, o options, args []string) string {
	all := total(results)
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	seeds := make([]string, len(results))
	for i, r := range results {
		seeds[i] = fmt.Sprint(r.seed)
	}
	say("`go run ./cmd/torture %s`, %s, %d CPUs, %s/%s, %s.", strings.Join(args, " "),
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	say("%d seeds, each of %s under faults, %d at a time.\n", len(results), o.lasts, max(o.parallel, 1))
	say("| what | how many |\n|---|---|")
	for _, row := range []struct {
		what  string
		count int
	}{
		{"anomalies", len(all.anomalies)},
		{"histories in which the search for an order was given up", all.undecided},
		{"saves acknowledged", all.saves},
		{"saves refused, as their context had changed", all.conflicts},
		{"saves sent more than once", all.retried},
		{"saves whose outcome only the log has", all.unknown},
		{"reads", all.reads},
		{"events stored", all.events},
		{"events dated before their predecessor, as PostgreSQL's clock was set back", all.datedBack},
		{"events delivered to subscribers", all.deliveries},
		{"subscriptions opened for that", all.streams},
		{"looks at the checkpoint", all.looks},
		{"events delivered to consumers of durable subscriptions", all.consumed},
		{"of these again, after a timeout, a refusal, or as no acknowledgement was stored", all.again},
		{"of these late, after the next consumer of the partition had got some", all.stale},
		{"epochs of partitions in which something was delivered", all.epochs},
		{"streams that consumers opened", all.joined},
	} {
		say("| %s | %d |", row.what, row.count)
	}
	pauses := make([]time.Duration, len(results))
	for i, r := range results {
		pauses[i] = r.pause.Round(10 * time.Millisecond)
	}
	slices.Sort(pauses)
	if len(pauses) > 0 {
		say("\nThe longest time of a seed without an answered save: median %s, longest %s.", pauses[len(pauses)/2],
			pauses[len(pauses)-1])
	}
	say("\n| fault | injected |\n|---|---|")
	for _, name := range slices.Sorted(maps.Keys(all.faults)) {
		say("| %s | %d |", name, all.faults[name])
	}
	for _, r := range results {
		for _, anomaly := range r.anomalies {
			say("\nSeed %d: %s", r.seed, anomaly)
		}
	}
	say("\nSeeds: %s.", strings.Join(seeds, ", "))
	return b.String()
}

// reportSection is the title of the report's section, in a page with other sections.
const reportSection = "Latest long run"

// writeReport writes a report into its section of a page, or creates the page where there is none.
func writeReport(path, text string) error {
	page, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	title := "## " + reportSection + "\n"
	before, after, found := strings.Cut(string(page), title)
	if !found {
		return os.WriteFile(path, []byte(text), 0o600)
	}
	if next := strings.Index(after, "\n## "); next >= 0 {
		text += after[next:]
	}
	return os.WriteFile(path, []byte(before+title+"\n"+text), 0o600) //nolint:gosec // the page that the user names
}
