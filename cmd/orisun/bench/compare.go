package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Comparison is one repeatable run: the server and pgbench on the same PostgreSQL, on this machine.
type Comparison struct {
	// Program is the server's binary.
	Program string
	// Environ is the server's environment. launch describes what it overrides.
	Environ []string
	// Dir is where the data are while it runs, in a folder of their own that is removed at the end. Empty is the
	// system's place for temporary files. It should be on the disk to be measured.
	Dir string
	// Docs is the folder that gets the results: Docs/benchmarks/compare.csv, Docs/benchmarks/compare.svg and a
	// section of Docs/benchmarks.md. Empty writes none of them.
	Docs string
	// Config is the load, and the boundary that the server is to have. Compare sets the server's fields (Dial,
	// credentials, Database, CreateIndex) and FsyncDir.
	Config Config
}

// yardsticks are the numbers of connections of the pgbench runs.
var yardsticks = []int{1, 16}

// busiest is the number of clients at which gRPC itself is measured, unless all of Config.Clients are below it.
const busiest = 256

// Compare runs the comparison and writes the documents. With an error the report holds what was measured until then.
// Failed requests are no error of Compare: Report.Err reports them. A ratio that misses its target is no error
// either: the report shows it.
func Compare(ctx context.Context, c Comparison) (report Report, ratios []Ratio, err error) {
	if err := c.Config.Validate(); err != nil {
		return report, nil, err
	}
	dir, err := os.MkdirTemp(c.Dir, "orisun-bench-")
	if err != nil {
		return report, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// PostgreSQL runs as another user than root, which needs access through this folder.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // its content has closed permissions of its own
		return report, nil, err
	}
	server, err := launch(ctx, c.Program, dir, c.Config.Boundary, c.Environ)
	if err != nil {
		return report, nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()

	config := c.Config
	config.Dial, config.Username, config.Password = server.dial, server.username, server.password
	config.Database, config.CreateIndex, config.FsyncDir = server.database(), true, dir
	// Ping is measured once, with the most clients.
	config.Workloads = slices.DeleteFunc(slices.Clone(config.Workloads), func(name string) bool { return name == "ping" })
	if report, err = runBoth(ctx, server, dir, config); err != nil {
		return report, nil, err
	}
	report.Environment.PeakMemory = peakMemory(server.command.Process.Pid)
	ratios = compareRatios(report)
	if c.Docs == "" {
		return report, ratios, nil
	}
	return report, ratios, writeDocs(c.Docs, report, ratios)
}

const (
	// compared is the workload that is compared with pgbench, with Ping, and with itself beside readers.
	compared = "append-1"
	// besideReaders is the compared workload with concurrent readers.
	besideReaders = "append-beside-readers"
	// decides is the workload of commands that read before they save.
	decides = "decide"
)

// runBoth runs pgbench, the compared workload alternating with saves beside readers and with commands, Ping, pgbench
// again, and then the rest. A machine's speed changes within minutes, and such a change should affect both sides of a
// ratio.
func runBoth(ctx context.Context, server *server, dir string, config Config) (Report, error) {
	report := Report{Settings: config.settings()}
	s, err := open(ctx, config)
	if err != nil {
		return report, err
	}
	err = s.measureBoth(ctx, server, dir, &report)
	return report, errors.Join(err, s.close())
}

func (s *session) measureBoth(ctx context.Context, server *server, dir string, report *Report) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	report.Environment = s.environment
	y, err := newYardstick(ctx, server, dir, s.config)
	if err != nil {
		return fmt.Errorf("prepare pgbench: %w", err)
	}
	o, err := watchOutbox(ctx, s.config.Database, s.config.Boundary)
	if err != nil {
		return fmt.Errorf("watch the outbox: %w", err)
	}
	s.rest = o.drain
	first, others := []string{}, []string{}
	for _, name := range s.config.Workloads {
		if name == compared || name == besideReaders || name == decides {
			first = append(first, name)
		} else {
			others = append(others, name)
		}
	}
	return o.during(ctx, func() error {
		for _, measure := range []func() ([]Result, error){
			func() ([]Result, error) { return s.yard(ctx, y, 1) },
			func() ([]Result, error) { return s.turns(ctx, first) },
			func() ([]Result, error) { return s.ceiling(ctx) },
			func() ([]Result, error) { return s.yard(ctx, y, 2) },
			func() ([]Result, error) { return s.sweep(ctx, others) },
		} {
			rows, err := measure()
			report.Results = append(report.Results, rows...)
			if err != nil {
				return err
			}
		}
		report.Outbox = o.report()
		return nil
	})
}

// turns alternates the workloads for each number of clients, since they are compared with one another. The rows of
// one workload are adjacent.
func (s *session) turns(ctx context.Context, workloads []string) (results []Result, err error) {
	all := s.config.Clients
	defer func() { s.config.Clients = all }()
	for _, clients := range all {
		s.config.Clients = []int{clients}
		rows, err := s.sweep(ctx, workloads)
		results = append(results, rows...)
		if err != nil {
			return results, err
		}
	}
	slices.SortStableFunc(results, func(a, b Result) int {
		return slices.Index(workloads, workloadOf(a)) - slices.Index(workloads, workloadOf(b))
	})
	return results, nil
}

// workloadOf is the name of a row's workload.
func workloadOf(row Result) string {
	name, _, _ := strings.Cut(row.Workload, "/")
	return name
}

// yard runs pgbench with every number of connections.
func (s *session) yard(ctx context.Context, y *yardstick, repeat int) ([]Result, error) {
	var results []Result
	for _, clients := range yardsticks {
		s.progress.say("pgbench, %s: %s", count(clients, "connection"), s.config.Duration)
		result, err := y.measure(ctx, clients, runtime.NumCPU(), repeat, s.config.Duration)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// ceiling runs authenticated Ping with the most clients, by token and by password.
func (s *session) ceiling(ctx context.Context) ([]Result, error) {
	var results []Result
	auth := s.config.Auth
	defer func() { s.config.Auth = auth }()
	for repeat := range s.config.Repeat {
		for _, s.config.Auth = range []string{AuthToken, AuthBasic} {
			rows, err := s.point(ctx, "ping", min(busiest, slices.Max(s.config.Clients)), repeat+1)
			if err != nil {
				return results, err
			}
			results = append(results, rows...)
		}
	}
	return results, nil
}

// writeDocs writes the results, their charts and their summary.
func writeDocs(docs string, report Report, ratios []Ratio) error {
	folder := filepath.Join(docs, "benchmarks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	table := filepath.Join(folder, "compare.csv")
	if err := WriteCSVFile(table, report.Results); err != nil {
		return err
	}
	if err := drawFile(table, filepath.Join(folder, "compare.svg")); err != nil {
		return err
	}
	return writeSection(filepath.Join(docs, "benchmarks.md"), section(report, ratios))
}
