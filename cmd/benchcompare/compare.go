package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

// comparison is one repeatable run: the server and pgbench on the same PostgreSQL, on this machine.
type comparison struct {
	// program is the server's binary.
	program string
	// environ is the server's environment. launch describes what it overrides.
	environ []string
	// dir is where the data are while it runs, in a folder of their own that is removed at the end. Empty is the
	// system's place for temporary files. It should be on the disk to be measured.
	dir string
	// docs is the folder that gets the results: docs/benchmarks/compare.csv, docs/benchmarks/compare.svg and a
	// section of docs/benchmarks.md. Empty writes none of them.
	docs string
	// config is the load, and the boundary that the server is to have. run sets the server's fields (Dial,
	// credentials, Database, CreateIndex) and FsyncDir.
	config bench.Config
}

// measured is what a comparison measured.
type measured struct {
	bench.Report
	// outbox is nil where the outbox was not watched until the end.
	outbox *outboxLag
	// peakMemory is the most memory that the server had resident, in bytes, without PostgreSQL. It is 0 where it is
	// not known.
	peakMemory int64
}

// connections are those of the pgbench runs.
var connections = []int{1, 16}

// busiest is the number of clients at which gRPC itself is measured, unless all of Config.Clients are below it.
const busiest = 256

const (
	// compared is the workload that is compared with pgbench, with Ping, and with itself beside readers.
	compared = "append-1"
	// besideReaders is the compared workload with concurrent readers.
	besideReaders = "append-beside-readers"
	// decides is the workload of commands that read before they save.
	decides = "decide"
	// ping is measured once, with the most clients.
	ping = "ping"
)

// run runs the comparison. With an error it returns what was measured until then. Failed requests are no error of
// run: Report.Err reports them. A ratio that misses its target is no error either: the ratios show it.
func (c comparison) run(ctx context.Context) (m measured, err error) {
	dir, err := os.MkdirTemp(c.dir, "orisun-bench-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// PostgreSQL runs as another user than root, which needs access through this folder.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // its content has closed permissions of its own
		return m, err
	}
	server, err := launch(ctx, c.program, dir, c.config.Boundary, c.environ)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()

	config := c.config
	config.Dial, config.Username, config.Password = server.dial, server.username, server.password
	config.Database, config.CreateIndex, config.FsyncDir = server.database(), true, dir
	config.Workloads = slices.DeleteFunc(slices.Clone(config.Workloads), func(name string) bool { return name == ping })
	s, err := bench.Open(ctx, config)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m.Report = s.Report()
	y, err := newYardstick(ctx, server, dir, config)
	if err != nil {
		return m, fmt.Errorf("prepare pgbench: %w", err)
	}
	o, err := watchOutbox(ctx, config.Database, config.Boundary)
	if err != nil {
		return m, fmt.Errorf("watch the outbox: %w", err)
	}
	r := runner{session: s, config: config, yardstick: y, outbox: o}
	if err := o.during(ctx, func() error { return r.runBoth(ctx, &m.Results) }); err != nil {
		return m, err
	}
	m.outbox, m.peakMemory = &o.seen, peakMemory(server.command.Process.Pid)
	return m, nil
}

// runner runs what is compared.
type runner struct {
	session   *bench.Session
	config    bench.Config
	yardstick *yardstick
	outbox    *outbox
}

// runBoth runs pgbench, the compared workload alternating with saves beside readers and with commands, Ping, pgbench
// again, and then the rest. A machine's speed changes within minutes, and such a change should affect both sides of a
// ratio.
func (r runner) runBoth(ctx context.Context, results *[]bench.Result) error {
	first, others := []string{}, []string{}
	for _, name := range r.config.Workloads {
		if name == compared || name == besideReaders || name == decides {
			first = append(first, name)
		} else {
			others = append(others, name)
		}
	}
	for _, measure := range []func() ([]bench.Result, error){
		func() ([]bench.Result, error) { return r.pgbench(ctx, 1) },
		func() ([]bench.Result, error) { return r.alternate(ctx, first) },
		func() ([]bench.Result, error) { return r.ceiling(ctx) },
		func() ([]bench.Result, error) { return r.pgbench(ctx, 2) },
		func() ([]bench.Result, error) { return r.measure(ctx, others, r.config.Clients) },
	} {
		rows, err := measure()
		*results = append(*results, rows...)
		if err != nil {
			return err
		}
	}
	return nil
}

// measure runs every workload with every number of clients, Config.Repeat times.
func (r runner) measure(ctx context.Context, workloads []string, clients []int) (results []bench.Result, err error) {
	for repeat := range r.config.Repeat {
		for _, name := range workloads {
			for _, n := range clients {
				rows, err := r.point(ctx, bench.Point{Workload: name, Auth: r.config.Auth, Clients: n, Repeat: repeat + 1})
				results = append(results, rows...)
				if err != nil {
					return results, err
				}
			}
		}
	}
	return results, nil
}

// point runs a point, and waits until the outbox is empty.
func (r runner) point(ctx context.Context, p bench.Point) ([]bench.Result, error) {
	rows, err := r.session.Measure(ctx, p)
	if err != nil {
		return nil, err
	}
	return rows, r.outbox.drain(ctx)
}

// alternate alternates the workloads for each number of clients, since they are compared with one another. The rows
// of one workload are adjacent.
func (r runner) alternate(ctx context.Context, workloads []string) (results []bench.Result, err error) {
	for _, clients := range r.config.Clients {
		rows, err := r.measure(ctx, workloads, []int{clients})
		results = append(results, rows...)
		if err != nil {
			return results, err
		}
	}
	slices.SortStableFunc(results, func(a, b bench.Result) int {
		return slices.Index(workloads, workloadOf(a)) - slices.Index(workloads, workloadOf(b))
	})
	return results, nil
}

// workloadOf is the name of a row's workload.
func workloadOf(row bench.Result) string {
	name, _, _ := strings.Cut(row.Workload, "/")
	return name
}

// pgbench runs pgbench with every number of connections.
func (r runner) pgbench(ctx context.Context, repeat int) (results []bench.Result, err error) {
	for _, n := range connections {
		if _, err := fmt.Fprintf(r.config.Progress, "pgbench -c %d: %s\n", n, r.config.Duration); err != nil {
			return results, err
		}
		result, err := r.yardstick.measure(ctx, n, runtime.NumCPU(), repeat, r.config.Duration)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// ceiling runs authenticated Ping with the most clients, by token and by password.
func (r runner) ceiling(ctx context.Context) (results []bench.Result, err error) {
	clients := min(busiest, slices.Max(r.config.Clients))
	for repeat := range r.config.Repeat {
		for _, auth := range []string{bench.AuthToken, bench.AuthBasic} {
			rows, err := r.point(ctx, bench.Point{Workload: ping, Auth: auth, Clients: clients, Repeat: repeat + 1})
			results = append(results, rows...)
			if err != nil {
				return results, err
			}
		}
	}
	return results, nil
}

// writeDocs writes the results, their charts and their summary.
func writeDocs(docs string, m measured) error {
	folder := filepath.Join(docs, "benchmarks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := bench.WriteCSVFile(filepath.Join(folder, "compare.csv"), m.Results); err != nil {
		return err
	}
	if err := drawFile(m.Results, filepath.Join(folder, "compare.svg")); err != nil {
		return err
	}
	return writeSection(filepath.Join(docs, "benchmarks.md"), section(m))
}
