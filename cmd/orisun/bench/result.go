package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is the result of a run.
type Report struct {
	Environment Environment `json:"environment"`
	Settings    Settings    `json:"settings"`
	Results     []Result    `json:"results"`
}

// Settings are the settings of the Config that the numbers depend on.
type Settings struct {
	Boundary    string  `json:"boundary"`
	Connections int     `json:"connections"`
	SeedEvents  int     `json:"seed_events"`
	Contexts    int     `json:"contexts"`
	Payload     int     `json:"payload_bytes"`
	Accounts    int     `json:"accounts"`
	Criteria    int     `json:"criteria"`
	Events      int     `json:"events"`
	Seed        uint64  `json:"seed"`
	WarmUp      float64 `json:"warm_up_s"`
	Duration    float64 `json:"duration_s"`
}

func (c Config) settings() Settings {
	return Settings{
		Boundary: c.Boundary, Connections: c.Connections, SeedEvents: c.SeedEvents, Contexts: c.Contexts,
		Payload: c.Payload, Accounts: c.Accounts, Criteria: c.Criteria, Events: c.Events, Seed: c.Seed,
		WarmUp: c.WarmUp.Seconds(), Duration: c.Duration.Seconds(),
	}
}

// Result is one row: a workload with a number of clients. Times are milliseconds.
type Result struct {
	Workload string `json:"workload"`
	Auth     string `json:"auth,omitempty"`
	Clients  int    `json:"clients"`
	Repeat   int    `json:"repeat"` // counts from 1
	// Rate is how many requests were due per second; 0 in the closed loop.
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"` // the window
	// Requests are those that ended within the window, Events what they saved or read.
	Requests          int64   `json:"requests"`
	Events            int64   `json:"events"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	EventsPerSecond   float64 `json:"events_per_second"`
	// Latencies are of the requests that were due within the window.
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
	// Starved is the longest that a client of the workload hot went without success, in the warm-up too.
	Starved float64 `json:"starved_ms"`
	// Failures counts failed requests by code, those of the warm-up too.
	Failures map[string]int64 `json:"failures,omitempty"`

	examples map[string]string // a message of each code
}

// Err is nil when no request failed. Otherwise it counts failures by code, each with an example.
func (r Report) Err() error {
	counts, examples := map[string]int64{}, map[string]string{}
	var all int64
	for _, result := range r.Results {
		for code, n := range result.Failures {
			counts[code] += n
			all += n
			if examples[code] == "" {
				examples[code] = fmt.Sprintf("%s with %s: %s",
					result.Workload, count(result.Clients, "client"), result.examples[code])
			}
		}
	}
	if all == 0 {
		return nil
	}
	text := count(int(all), "request") + " failed"
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("\n  %d %s, such as in %s", counts[code], code, examples[code])
	}
	return errors.New(text)
}

// WriteTable writes a report for people.
func (r Report) WriteTable(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var text strings.Builder
	for _, c := range r.Conditions() {
		fmt.Fprintf(&text, "%s\t%s\n", c.Name, c.Text)
	}
	if _, err := io.WriteString(table, text.String()+"\n"); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	text.Reset()
	width := len("workload")
	for _, row := range r.Results {
		width = max(width, len(row.Workload))
	}
	fmt.Fprintf(&text, "%-*s\tauth\tclients\trequests/s\tevents/s\tp50 ms\tp95 ms\tp99 ms\tmax ms\tstarved "+
		"ms\tfailures\t\n", width, "workload")
	for _, row := range r.Results {
		fmt.Fprintf(&text, "%-*s\t%s\t%d\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			width, row.Workload, dash(row.Auth), row.Clients, row.RequestsPerSecond,
			row.EventsPerSecond, ShortTime(row.P50), ShortTime(row.P95), ShortTime(row.P99), ShortTime(row.Max),
			ShortTime(row.Starved),
			dash(failures(row.Failures)))
	}
	if _, err := io.WriteString(table, text.String()); err != nil {
		return err
	}
	return table.Flush()
}

// count writes a number of things: 1 client, 16 clients.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// ShortTime writes milliseconds with three digits. 0 means none.
func ShortTime(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}

// failures writes counts by code as CSV holds them: "INTERNAL=1 UNAVAILABLE=20".
func failures(counts map[string]int64) string {
	words := make([]string, 0, len(counts))
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s=%d", code, counts[code]))
	}
	return strings.Join(words, " ")
}

// WriteJSON writes the report as one object.
func (r Report) WriteJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

var columns = []string{
	"workload", "auth", "clients", "repeat", "rate", "seconds", "requests", "events", "requests_per_second",
	"events_per_second",
	"p50_ms", "p95_ms", "p99_ms", "max_ms", "starved_ms", "failures",
}

// WriteCSV writes results with a line of headings.
func WriteCSV(out io.Writer, results []Result) error {
	w := csv.NewWriter(out)
	number := func(x float64, digits int) string { return strconv.FormatFloat(x, 'f', digits, 64) }
	rows := [][]string{columns}
	for _, r := range results {
		rows = append(rows, []string{
			r.Workload, r.Auth, strconv.Itoa(r.Clients), strconv.Itoa(r.Repeat), number(r.Rate, -1), number(r.Seconds, -1),
			strconv.FormatInt(r.Requests, 10), strconv.FormatInt(r.Events, 10), number(r.RequestsPerSecond, 1),
			number(r.EventsPerSecond, 1),
			number(r.P50, 3), number(r.P95, 3), number(r.P99, 3), number(r.Max, 3), number(r.Starved, 3), failures(r.Failures),
		})
	}
	return w.WriteAll(rows)
}

// WriteCSVFile writes results into a file, which it replaces.
func WriteCSVFile(path string, results []Result) error {
	var text bytes.Buffer
	if err := WriteCSV(&text, results); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644) //nolint:gosec // for everybody to read
}
