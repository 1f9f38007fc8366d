package bench

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"
)

// outcome is how one request ended.
type outcome struct {
	row    int       // the row of the workload that it counts for
	events int       // how many events it saved or read
	ended  time.Time // zero is now; set where a client continued with work that is not part of the request
	err    error
}

// measurement collects the observations of one point. Its window is set before the first request and does not move
// afterwards.
type measurement struct {
	from, to time.Time
	rows     []*recorder
}

func newMeasurement(rows int) *measurement {
	m := &measurement{rows: make([]*recorder, rows)}
	for i := range m.rows {
		m.rows[i] = newRecorder()
	}
	return m
}

// observe counts a request that was due at a time and has ended.
func (m *measurement) observe(due time.Time, o outcome) {
	if o.ended.IsZero() {
		o.ended = time.Now()
	}
	r := m.rows[o.row]
	if o.err != nil {
		r.fail(codeOf(o.err), 1, o.err.Error())
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.within(o.ended) {
		r.requests++
		r.events += int64(o.events)
	}
	if m.within(due) {
		r.record(o.ended.Sub(due))
	}
}

func (m *measurement) within(t time.Time) bool { return !t.Before(m.from) && t.Before(m.to) }

// Latencies are stored with three digits between a microsecond and an hour. No request takes as long.
const (
	least  = time.Microsecond
	most   = time.Hour
	digits = 3
)

// recorder holds the numbers of one row. One lock is enough: it is held for tens of nanoseconds, and calls take tens
// of microseconds.
type recorder struct {
	mu        sync.Mutex
	latencies *hdrhistogram.Histogram // of requests due in the window, in nanoseconds
	requests  int64                   // that ended in the window
	events    int64                   // of those requests
	failures  map[string]int64        // by code
	examples  map[string]string       // the first message of each code
}

func newRecorder() *recorder {
	return &recorder{
		latencies: hdrhistogram.New(int64(least), int64(most), digits),
		failures:  map[string]int64{}, examples: map[string]string{},
	}
}

// record is called with the lock held.
func (r *recorder) record(latency time.Duration) {
	if err := r.latencies.RecordValue(int64(min(max(latency, 0), most))); err != nil {
		r.failures[unrecorded]++
		r.examples[unrecorded] = err.Error()
	}
}

// Failures that do not come from a server.
const (
	// open loop: due in the window, and still not sent when the time to wait for answers was over
	unsent      = "UNSENT"
	undelivered = "UNDELIVERED" // saved, and not received by the subscriber in that time
	unrecorded  = "UNRECORDED"  // a latency beyond the range of the histogram
)

func (r *recorder) fail(code string, n int64, example string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[code] += n
	if r.examples[code] == "" {
		r.examples[code] = example
	}
}

// state is what the progress shows.
type state struct {
	requests, failures int64
	p99                time.Duration
}

func (r *recorder) state() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := state{requests: r.requests, p99: time.Duration(r.latencies.ValueAtQuantile(99))}
	for _, n := range r.failures {
		s.failures += n
	}
	return s
}

func (r *recorder) result(window time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	quantile := func(q float64) float64 {
		if r.latencies.TotalCount() == 0 {
			return 0
		}
		return milliseconds(time.Duration(r.latencies.ValueAtQuantile(q)))
	}
	return Result{
		Seconds:           window.Seconds(),
		Requests:          r.requests,
		Events:            r.events,
		RequestsPerSecond: float64(r.requests) / window.Seconds(),
		EventsPerSecond:   float64(r.events) / window.Seconds(),
		P50:               quantile(50),
		P95:               quantile(95),
		P99:               quantile(99),
		Max:               quantile(100),
		Failures:          maps.Clone(r.failures),
		examples:          maps.Clone(r.examples),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// codeOf is the canonical name of an error's code, such as UNAVAILABLE.
func codeOf(err error) string { return code.Code(status.Code(err)).String() }
