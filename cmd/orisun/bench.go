package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

const defaultBenchBoundary = "orisun_test_1"

func newBenchCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "bench [COMMAND]",
		Short: "Put load on a server and show how fast it is",
		Long: `Put load on a server and show how fast it is: throughput, latency, and how many
requests failed. It works with every server of this protocol. It saves events
into the boundary, which stay there: choose one that is for tests.

Workloads:
` + bench.AboutWorkloads() + `
Throughput counts what ended within the window after the warm-up. Latency counts
what was due within it; with --rate requests are due at fixed times and latency
counts from there, so that a server that stalls cannot hide it.

The exit code is 1 when a request failed. A conflict in the workloads hot,
decide and transfer is no failure.`,
		Example: `  orisun bench
  orisun bench --workload append-1,read-10 --clients 16 --create-index \
    --pg postgres://postgres:postgres@localhost:5434/orisun
  orisun bench --workload append-1 --clients 64 --rate 2000 --duration 30s`,
		Args: cobra.NoArgs,
	}
	config := bench.Config{Progress: os.Stderr}
	var out, csvFile string
	flags := command.Flags()
	server := addServerFlags(flags)
	addLoadFlags(flags, &config, []string{"append-1"})
	flags.Float64Var(&config.Rate, "rate", 0, "open loop: requests due per second, of all clients together; 0 is the closed loop")
	flags.StringVar(&config.Boundary, "boundary", defaultBenchBoundary, "boundary to save into and read from")
	flags.StringVar(&config.Auth, "auth", bench.AuthToken, "what calls carry: "+bench.AuthToken+" (the password once) or "+bench.AuthBasic+" (it every time)")
	flags.BoolVar(&config.CreateIndex, "create-index", false, "create the index on the contexts' key, if the server can; it stays there")
	flags.StringVar(&config.Database, "pg", "", "connection string of the server's PostgreSQL, to tell its durability and the time of a commit")
	flags.StringVar(&config.FsyncDir, "fsync-dir", "", "directory to measure the time of an fsync in")
	flags.StringVar(&out, "out", "table", "what to print: table, csv or json")
	flags.StringVar(&csvFile, "csv", "", "file to write the results to as CSV, too")

	command.RunE = func(command *cobra.Command, _ []string) error {
		write, found := map[string]func(bench.Report, io.Writer) error{
			"table": bench.Report.WriteTable,
			"json":  bench.Report.WriteJSON,
			"csv":   func(r bench.Report, out io.Writer) error { return bench.WriteCSV(out, r.Results) },
		}[out]
		if !found {
			return usageError{fmt.Errorf("--out is %q: it is table, csv or json", out)}
		}
		if err := config.Validate(); err != nil {
			return usageError{err}
		}
		growHeap(loadGrowth)
		if err := server.prepare(command.Context()); err != nil {
			return err
		}
		config.Dial = server.open
		config.Username, config.Password = server.user, server.password
		config.Live = term.IsTerminal(int(os.Stderr.Fd()))

		report, err := bench.Run(command.Context(), config)
		if len(report.Results) > 0 {
			err = errors.Join(err, write(report, command.OutOrStdout()))
			if csvFile != "" {
				err = errors.Join(err, bench.WriteCSVFile(csvFile, report.Results))
			}
		}
		return errors.Join(err, report.Err())
	}
	command.AddCommand(newBenchCompareCommand())
	return command
}

func newBenchCompareCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "compare",
		Short: "Compare this server with pgbench on the same PostgreSQL",
		Long: `Compare this server with pgbench on the same PostgreSQL, in one run: start this
binary with a PostgreSQL of its own in a temporary folder, seed it, run pgbench
(single-row INSERTs into such a table with the same three indexes), append-1,
authenticated Ping, pgbench again, and the other workloads. The printed ratios
mean the same on every machine. A missed target is no failure.

Settings of the server in the environment (ORISUN_…) are in force, but for
ports, credentials and places of data.`,
		Example: `  orisun bench compare --docs docs
  orisun bench compare --duration 1s --warm-up 0s --clients 1,16 \
    --seed-events 5000 --contexts 500`,
		Args: cobra.NoArgs,
	}
	comparison := bench.Comparison{Config: bench.Config{Auth: bench.AuthToken, Boundary: defaultBenchBoundary, Progress: os.Stderr}}
	flags := command.Flags()
	addLoadFlags(flags, &comparison.Config, bench.Workloads())
	flags.Lookup("workload").DefValue = "all"
	flags.StringVar(&comparison.Dir, "dir", "", "directory on the disk to measure, where the data lie meanwhile (default the system's for temporary files)")
	flags.StringVar(&comparison.Docs, "docs", "", "folder to write benchmarks/compare.csv, benchmarks/compare.svg and a section of benchmarks.md in")

	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := comparison.Config.Validate(); err != nil {
			return usageError{err}
		}
		growHeap(loadGrowth)
		program, err := os.Executable()
		if err != nil {
			return err
		}
		comparison.Program, comparison.Environ = program, os.Environ()
		comparison.Config.Live = term.IsTerminal(int(os.Stderr.Fd()))
		report, ratios, err := bench.Compare(command.Context(), comparison)
		if len(report.Results) > 0 {
			err = errors.Join(err, report.WriteTable(command.OutOrStdout()))
		}
		if len(ratios) > 0 {
			err = errors.Join(err, bench.WriteRatios(command.OutOrStdout(), ratios))
		}
		return errors.Join(err, report.Err())
	}
	return command
}

// addLoadFlags adds the flags that both commands have.
func addLoadFlags(flags *pflag.FlagSet, config *bench.Config, workloads []string) {
	flags.StringSliceVar(&config.Workloads, "workload", workloads, "workloads to run")
	flags.IntSliceVar(&config.Clients, "clients", []int{1, 16, 64, 256}, "numbers of concurrent clients to run each workload with")
	flags.DurationVar(&config.WarmUp, "warm-up", 2*time.Second, "time before each window")
	flags.DurationVar(&config.Duration, "duration", 6*time.Second, "length of each window")
	flags.IntVar(&config.Repeat, "repeat", 1, "how often to run it all")
	flags.IntVar(&config.Connections, "connections", 1, "HTTP/2 connections that the clients share")
	flags.IntVar(&config.SeedEvents, "seed-events", 100_000, "events to save before the first workload")
	flags.IntVar(&config.Contexts, "contexts", 10_000, "contexts to spread the events over")
	flags.IntVar(&config.Accounts, "accounts", 1000, "accounts that the commands of decide and transfer choose from")
	flags.IntVar(&config.Criteria, "criteria", 4, "criteria of a command of decide, in two shapes")
	flags.IntVar(&config.Events, "events", 1, "events that a command of decide saves")
	flags.IntVar(&config.Payload, "payload", 256, "bytes of an event's data")
	flags.Uint64Var(&config.Seed, "seed", rand.Uint64(), "makes choices and payloads repeatable (default random)") //nolint:gosec // no secret
	flags.Lookup("seed").DefValue = "0"                                                                            // which help leaves out
}
