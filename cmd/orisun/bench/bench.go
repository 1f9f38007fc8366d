// Package bench puts load on a server and reports how the server performed. It uses gRPC with the generated client,
// and sends only fields whose numbers are below 100, which every server of the protocol has.
//
// # Rules
//
//   - A point is one workload at one number of clients. It runs for the warm-up and then for the window. No request
//     is sent after that.
//   - Throughput counts requests that ended within the window. Latency counts requests that were due within it, and
//     waits for each answer for up to a minute after the window. So the numbers include a stall at the end and slow
//     answers.
//   - Closed loop: a client sends its next request when the last one is answered. Open loop (Config.Rate): requests
//     are due at fixed times, independent of answers. Latency counts from the time a request was due, not from when a
//     client was free to send it. That is what independent callers would see. Without it a server that stalls
//     receives fewer requests and looks better (coordinated omission).
//   - Each run has contexts of its own, named at random, so that runs do not disturb each other in a boundary. Each
//     client owns a part of them and has the last position of each. Its conditional saves expect the right position,
//     so a conflict is a failure. Only the workload hot measures conflicts.
//
// # Failures
//
// A failed request is counted by its code, in the warm-up too, and the run continues. At the end Report.Err reports
// how many failed. A save with an unknown outcome leaves its context's position unknown, so it is read before the
// context is used again. Where seeding, log-in or the creation of the index fails, there is no run. When the context
// of the run ends, the run ends with the points that are complete.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// Config describes the load and its target.
type Config struct {
	// Dial opens a connection to the server, lazily and without credentials. The options carry the credentials.
	Dial func(options ...grpc.DialOption) (*grpc.ClientConn, error)

	// Username and Password are the login. See Auth.
	Username, Password string

	// Auth is AuthToken or AuthBasic.
	Auth string

	// Connections is the number of HTTP/2 connections that the clients share, at least 1.
	Connections int

	// Boundary is where events are saved and read. It need not be empty.
	Boundary string

	// Workloads are names of Workloads, run in this order.
	Workloads []string

	// Clients are the numbers of concurrent clients that each workload is run with, each at least 1.
	Clients []int

	// WarmUp precedes each window, Duration is the window's length.
	WarmUp, Duration time.Duration

	// Repeat is how often the whole sweep is run, at least 1.
	Repeat int

	// Rate is how many requests are due per second, of all clients of a point together. 0 is the closed loop.
	Rate float64

	// SeedEvents are saved before the first point, spread over Contexts. With 0 the workloads that read cannot run.
	SeedEvents int

	// Contexts is the number of contexts, at least that of the clients.
	Contexts int

	// Accounts is the number of accounts that the commands of decide and transfer choose from. Criteria and Events
	// are those of a command of decide: a criterion for each of the two fields of Criteria / 2 accounts, and the
	// events that it saves.
	Accounts, Criteria, Events int

	// Payload is the size of an event's data in bytes: minPayload to maxPayload.
	Payload int

	// Seed makes the choice of contexts and the payloads repeatable. Event ids and the names of contexts are always
	// random.
	Seed uint64

	// CreateIndex creates the index on the context's key, if the server supports it.
	CreateIndex bool

	// Database is the connection string of the server's PostgreSQL. The report includes its settings and its time to
	// commit. Empty omits both.
	Database string

	// FsyncDir is a directory where the time of an fsync is measured: that of PostgreSQL's data or one on the same
	// disk. Empty measures none.
	FsyncDir string

	// Progress receives progress messages. Live says that it is a terminal, where one line is overwritten.
	Progress io.Writer
	Live     bool
}

const (
	// AuthToken sends the password once, and then the token of the answer, as clients do.
	AuthToken = "token"
	// AuthBasic sends the password with every call.
	AuthBasic = "basic"

	// minPayload leaves room for the context beside the payload.
	minPayload = 64
	// maxCriteria is the most criteria that a save may have.
	maxCriteria = 256
	// maxEvents bounds the events of a command of decide to a realistic number.
	maxEvents = 1000
	// maxPayload is the most bytes of one event in JetStream by default, less its headers.
	maxPayload = 1_000_000
)

// Validate reports everything that is wrong with a Config, by the names of the flags.
func (c Config) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, name := range c.Workloads {
		if _, err := findWorkload(name); err != nil {
			wrong("--workload: %w", err)
		}
	}
	if len(c.Workloads) == 0 {
		wrong("--workload names none: choose of %s", strings.Join(Workloads(), ", "))
	}
	if len(c.Clients) == 0 {
		wrong("--clients is empty: give numbers of clients, such as 1,16")
	}
	for _, n := range c.Clients {
		if n < 1 {
			wrong("--clients holds %d: at least 1 is necessary", n)
		}
		if n > c.Contexts {
			wrong("--contexts is %d, fewer than the %d clients of --clients: each client needs one of its own", c.Contexts, n)
		}
	}
	if c.Auth != AuthToken && c.Auth != AuthBasic {
		wrong("--auth is %q: it is %s or %s", c.Auth, AuthToken, AuthBasic)
	}
	if c.Boundary == "" {
		wrong("--boundary is empty")
	}
	if c.Connections < 1 {
		wrong("--connections is %d: at least 1 is necessary", c.Connections)
	}
	if c.WarmUp < 0 {
		wrong("--warm-up is %s: it cannot be negative", c.WarmUp)
	}
	if c.Duration <= 0 {
		wrong("--duration is %s: it has to be positive", c.Duration)
	}
	if c.Repeat < 1 {
		wrong("--repeat is %d: at least 1 is necessary", c.Repeat)
	}
	if c.Rate < 0 || math.IsInf(c.Rate, 0) || math.IsNaN(c.Rate) {
		wrong("--rate is %v: it is a number of requests per second, or 0", c.Rate)
	}
	if c.SeedEvents < 0 {
		wrong("--seed-events is %d: it cannot be negative", c.SeedEvents)
	}
	if c.SeedEvents == 0 && slices.ContainsFunc(c.Workloads, readsSeeded) {
		wrong("--seed-events is 0: the workloads that read need seeded events")
	}
	if c.Criteria < 1 || c.Criteria > maxCriteria {
		wrong("--criteria is %d: it is from 1 to %d", c.Criteria, maxCriteria)
	}
	if c.Events < 1 || c.Events > maxEvents {
		wrong("--events is %d: it is from 1 to %d", c.Events, maxEvents)
	}
	if needed := accountsOf(c.Criteria); c.Accounts < needed {
		wrong("--accounts is %d: a command with %d criteria needs %d", c.Accounts, c.Criteria, needed)
	}
	if c.Payload < minPayload || c.Payload > maxPayload {
		wrong("--payload is %d: it is from %d to %d bytes", c.Payload, minPayload, maxPayload)
	}
	return errors.Join(problems...)
}

// Run seeds the boundary and runs every workload with every number of clients. With an error the report holds the
// points that are complete. Failed requests are no error of Run: Report.Err reports them.
func Run(ctx context.Context, config Config) (Report, error) {
	report := Report{Settings: config.settings()}
	if err := config.Validate(); err != nil {
		return report, err
	}
	s, err := Open(ctx, config)
	if err != nil {
		return report, err
	}
	report = s.Report()
	report.Results, err = s.sweep(ctx)
	return report, errors.Join(err, s.Close())
}

// sweep runs every workload with every number of clients, Config.Repeat times.
func (s *Session) sweep(ctx context.Context) ([]Result, error) {
	var results []Result
	for repeat := range s.config.Repeat {
		for _, name := range s.config.Workloads {
			for _, clients := range s.config.Clients {
				rows, err := s.Measure(ctx, Point{name, s.config.Auth, clients, repeat + 1})
				results = append(results, rows...)
				if err != nil {
					return results, err
				}
			}
		}
	}
	return results, nil
}

// Point is one workload with one number of clients, for the first, second, … time of Config.Repeat.
type Point struct {
	Workload, Auth  string
	Clients, Repeat int
}

// Measure runs a point. Its token is fresh, so that it does not expire within a run.
func (s *Session) Measure(ctx context.Context, p Point) ([]Result, error) {
	rows, err := s.measure(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", p.Workload, count(p.Clients, "client"), err)
	}
	return rows, nil
}

func (s *Session) measure(ctx context.Context, p Point) ([]Result, error) {
	w, err := findWorkload(p.Workload)
	if err != nil {
		return nil, err
	}
	if err := s.logIn(ctx, p.Auth); err != nil {
		return nil, err
	}
	m := newMeasurement(len(w.rows))
	l, err := w.start(ctx, s, m, p.Clients)
	if err != nil {
		return nil, err
	}
	label := p.Workload + ", " + count(p.Clients, "client")
	if s.config.Repeat > 1 {
		label += fmt.Sprintf(", %d of %d", p.Repeat, s.config.Repeat)
	}
	loop := loop{warmUp: s.config.WarmUp, duration: s.config.Duration, rate: s.config.Rate}
	done := s.progress.watch(label, m, loop.warmUp+loop.duration)
	loop.run(ctx, m, l)
	done()
	if l.close != nil {
		l.close()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rows := make([]Result, len(w.rows))
	for i, suffix := range w.rows {
		rows[i] = m.rows[i].result(s.config.Duration)
		rows[i].Workload, rows[i].Auth = p.Workload+suffix, p.Auth
		rows[i].Clients, rows[i].Repeat, rows[i].Rate = p.Clients, p.Repeat, s.config.Rate
	}
	if l.starved != nil {
		rows[0].Starved = milliseconds(l.starved())
	}
	return rows, nil
}
