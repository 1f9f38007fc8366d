package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

const defaultBenchBoundary = "orisun_test_1"

func newBenchCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "bench",
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
	config.AddFlags(flags, []string{"append-1"})
	flags.Float64Var(&config.Rate, "rate", 0,
		"open loop: requests due per second, of all clients together; 0 is the closed loop")
	flags.StringVar(&config.Boundary, "boundary", defaultBenchBoundary, "boundary to save into and read from")
	flags.StringVar(&config.Auth, "auth", bench.AuthToken,
		"what calls carry: "+bench.AuthToken+" (the password once) or "+bench.AuthBasic+" (it every time)")
	flags.BoolVar(&config.CreateIndex, "create-index", false,
		"create the index on the contexts' key, if the server can; it stays there")
	flags.StringVar(&config.Database, "pg", "",
		"connection string of the server's PostgreSQL, to report its durability and the time of a commit")
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
	return command
}
