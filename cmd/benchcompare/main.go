// Command benchcompare compares Orisun with pgbench on the same PostgreSQL, and writes the numbers and charts of
// docs/benchmarks.md. `make bench-compare` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

// The garbage collector of the load generator would otherwise take a fifth of its time, on a machine that it shares
// with the measured server.
const (
	heapGrowth  = 800
	memoryLimit = 320 << 20
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	debug.SetGCPercent(heapGrowth)
	debug.SetMemoryLimit(memoryLimit)
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchcompare:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "benchcompare",
		Short: "Compare Orisun with pgbench on the same PostgreSQL",
		Long: `Compare Orisun with pgbench on the same PostgreSQL, in one run: start the server
with a PostgreSQL of its own in a temporary folder, seed it, run pgbench
(single-row INSERTs into such a table with the same three indexes), append-1,
authenticated Ping, pgbench again, and the other workloads. The printed ratios
mean the same on every machine. A missed target is no failure.

Settings of the server in the environment (ORISUN_…) are in force, but for
ports, credentials and places of data.`,
		Example: `  go run ./cmd/benchcompare --docs docs
  go run ./cmd/benchcompare --duration 1s --warm-up 0s --clients 1,16 \
    --seed-events 5000 --contexts 500`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c := comparison{
		environ: os.Environ(),
		config:  bench.Config{Auth: bench.AuthToken, Boundary: "orisun_test_1", Progress: os.Stderr},
	}
	flags := command.Flags()
	c.config.AddFlags(flags, bench.Workloads())
	flags.Lookup("workload").DefValue = "all"
	flags.StringVar(&c.program, "program", "bin/orisun", "the server's binary")
	flags.StringVar(&c.dir, "dir", "",
		"directory on the disk to measure, where the data lie meanwhile (default the system's for temporary files)")
	flags.StringVar(&c.docs, "docs", "",
		"folder to write benchmarks/compare.csv, benchmarks/compare.svg and a section of benchmarks.md in")

	command.RunE = func(command *cobra.Command, _ []string) (err error) {
		if err := c.config.Validate(); err != nil {
			return err
		}
		if c.program, err = filepath.Abs(c.program); err != nil {
			return err
		}
		c.config.Live = term.IsTerminal(int(os.Stderr.Fd()))
		m, err := c.run(command.Context())
		if len(m.Results) > 0 {
			err = errors.Join(err, m.WriteTable(command.OutOrStdout()))
		}
		if err != nil {
			return errors.Join(err, m.Err())
		}
		if err := writeRatios(command.OutOrStdout(), m.ratios()); err != nil {
			return err
		}
		if c.docs != "" {
			err = writeDocs(c.docs, m)
		}
		return errors.Join(err, m.Err())
	}
	return command
}
