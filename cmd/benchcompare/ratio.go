package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

// ratio is one of the numbers that measure the server here, with its target. Ratios within a run are comparable
// between machines. Rates of one machine are not.
type ratio struct {
	what     string
	unit     string // "×" for a ratio, or that of the value
	value    float64
	target   float64 // 0: no target, the value is only reported
	atMost   bool    // the value is to stay below the target, else to reach it
	measured bool    // false: the run lacks the results that it needs
}

// isMet reports whether the target is reached.
func (r ratio) isMet() bool {
	if r.atMost {
		return r.measured && r.value <= r.target
	}
	return r.measured && r.value >= r.target
}

// number is the measured number as people read it.
func (r ratio) number() string {
	if !r.measured {
		return "not measured"
	}
	return format(r.value, r.unit)
}

// goal is what the number should be.
func (r ratio) goal() string {
	if r.target == 0 {
		return ""
	}
	if r.atMost {
		return "≤ " + format(r.target, r.unit)
	}
	return "≥ " + format(r.target, r.unit)
}

func format(value float64, unit string) string {
	if unit == "×" {
		return fmt.Sprintf("%.2f×", value)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// ratios are those of a comparison, in the order of the targets.
func (m measured) ratios() []ratio {
	all := medians(m.Results)
	perSecond := func(r bench.Result) float64 { return r.RequestsPerSecond }
	events := func(r bench.Result) float64 { return r.EventsPerSecond }
	var ratios []ratio
	add := func(what, unit string, value quantity, target float64, atMost bool) {
		ratios = append(ratios, ratio{what, unit, value.number, target, atMost, value.known})
	}

	clients := func(n int) string {
		if n == 1 {
			return "1 client"
		}
		return fmt.Sprintf("%d clients", n)
	}
	save := func(clients int) quantity { return all.of(compared, bench.AuthToken, clients, perSecond) }
	for _, t := range []struct {
		clients, connections int
		target               float64
	}{{1, 1, 0.5}, {16, 16, 0.6}, {64, 16, 1.0}, {256, 16, 1.3}} {
		add(fmt.Sprintf("conditional 1-event saves, %s / pgbench -c %d", clients(t.clients), t.connections), "×",
			save(t.clients).over(all.of(pgbench, "", t.connections, perSecond)), t.target, false)
	}
	pings := all.of(ping, bench.AuthToken, busiest, perSecond)
	p50 := all.of(compared, bench.AuthToken, busiest, func(r bench.Result) float64 { return r.P50 })
	p99 := all.of(compared, bench.AuthToken, busiest, func(r bench.Result) float64 { return r.P99 })
	add("conditional 1-event saves / authenticated Ping, 256 clients", "×", save(busiest).over(pings), 0.5, false)
	add("p99 / p50 of conditional 1-event saves, 256 clients", "×", p99.over(p50), 4, true)
	add("conditional reads of 10 events, 16 clients", "requests/s", all.of("read-10", bench.AuthToken, 16, perSecond),
		4500, false)
	add("page reads of 1,000 events, 16 clients", "events/s", all.of("page", bench.AuthToken, 16, events), 220_000, false)
	beside := func(clients int) quantity { return all.of(besideReaders, bench.AuthToken, clients, perSecond) }
	add("saves beside 4 page readers, 1 client", "requests/s", beside(1), 280, false)
	for _, n := range []int{1, 16, 64, 256} {
		add("saves beside 4 page readers / saves alone, "+clients(n), "×", beside(n).over(save(n)), 0.7, false)
	}
	for _, t := range []struct {
		clients int
		target  float64
	}{{1, 0.50}, {16, 0.40}, {64, 0.33}} {
		add("decided commands with 4 criteria in 2 shapes / saves, "+clients(t.clients), "×",
			all.of(decides, bench.AuthToken, t.clients, perSecond).over(save(t.clients)), t.target, false)
	}
	add("Ping with the password on every call / with a token, 256 clients", "×",
		all.of(ping, bench.AuthBasic, busiest, perSecond).over(pings), 0.9, false)
	add("winners in one hot context, 64 clients / saves, 1 client", "×",
		all.of("hot", bench.AuthToken, 64, perSecond).over(save(1)), 0, false)
	add("the longest without winning in it, 64 clients", "ms",
		all.of("hot", bench.AuthToken, 64, func(r bench.Result) float64 { return r.Starved }), 0, true)
	if o := m.outbox; o != nil {
		add("the outbox's lag at its worst", "ms", milliseconds(o.worst), 1000, true)
		add("time until the outbox is empty after a load, at the longest", "ms", milliseconds(o.drained), 1000, true)
	}
	const mebibyte = 1 << 20
	memory := float64(m.peakMemory) / mebibyte
	add("the server's memory at its peak", "MiB", quantity{memory, memory > 0}, 512, true)
	return ratios
}

// quantity is a number, if it is known.
type quantity struct {
	number float64
	known  bool
}

func milliseconds(d time.Duration) quantity {
	return quantity{float64(d) / float64(time.Millisecond), true}
}

func (q quantity) over(divisor quantity) quantity {
	if !q.known || !divisor.known || divisor.number == 0 {
		return quantity{}
	}
	return quantity{q.number / divisor.number, true}
}

// medians are the results of all repetitions.
type medians []bench.Result

// of is the median over the repetitions of one point. For an even number it is that of the middle two.
func (m medians) of(workload, auth string, clients int, metric func(bench.Result) float64) quantity {
	var values []float64
	for _, r := range m {
		if r.Workload == workload && r.Auth == auth && r.Clients == clients {
			values = append(values, metric(r))
		}
	}
	if len(values) == 0 {
		return quantity{}
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return quantity{values[middle], true}
	}
	return quantity{(values[middle-1] + values[middle]) / 2, true}
}
