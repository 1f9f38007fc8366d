// Command torture runs real Orisun servers, three nodes with one PostgreSQL. It injects all its faults under load,
// and checks that every answer was right:
//
//   - the histories of reads and saves are linearizable (porcupine), with the model "append if no event of the
//     context lies after the expected position";
//   - each acknowledged event is in the log, once, at the acknowledged position; positions count without gaps, follow
//     time and never change;
//   - every subscriber received the log's events for it: all of them, once, in order, over however many streams and
//     nodes;
//   - the JetStream stream, once healed, is the log, message for message, so two publishers never wrote at the same
//     time;
//   - the checkpoint never goes back, except after a crash of PostgreSQL;
//   - the faults explain every error that a client saw; every node serves again and ends well.
//
// A seed decides which faults occur when and what clients do. It does not decide how the machine schedules them, so a
// seed that found an anomaly may need several runs to find it again.
//
// It is no part of the server. Failures: exit 1 with the anomalies, the seed and the folder with logs and histories;
// exit 2 for an invalid command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() { os.Exit(command(os.Args[1:])) }

type options struct {
	seed     uint64
	seeds    int
	lasts    time.Duration
	whole    time.Duration
	parallel int
	mutate   string
	only     string
	report   string
	dir      string
	keep     bool
}

func command(args []string) int {
	var o options
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", 0, "run this seed alone; 0 runs new seeds")
	flags.IntVar(&o.seeds, "seeds", 4, "how many seeds to run")
	flags.DurationVar(&o.whole, "for", 0, "run seeds until this time has passed, instead of a number of them")
	flags.DurationVar(&o.lasts, "round", 12*time.Second, "how long each seed disturbs")
	flags.IntVar(&o.parallel, "parallel", 1, "how many seeds run at a time")
	flags.StringVar(&o.mutate, "mutate", "", "take a safeguard away, which must be found: one of "+mutationNames())
	flags.StringVar(&o.only, "faults", "", "only faults whose names contain one of these words, with commas between them")
	flags.StringVar(&o.report, "report", "",
		"write a report in Markdown to this file; of one that has a section \""+reportSection+"\" it is replaced")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where databases, stores and logs go; what fails stays there")
	flags.BoolVar(&o.keep, "keep", false, "leave everything in --dir")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if _, known := mutations[o.mutate]; o.mutate != "" && !known {
		fmt.Fprintf(os.Stderr, "torture: --mutate %q: must be one of %s\n", o.mutate, mutationNames())
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	results, err := torture(ctx, o)
	if o.report != "" {
		err = errors.Join(err, writeReport(o.report, report(results, o, args)))
	}
	fmt.Print(summary(results))
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 1
	}
	for _, r := range results {
		if len(r.anomalies) > 0 {
			return 1
		}
	}
	return 0
}

// torture runs the seeds, whatever they find. The error is what prevented rounds.
func torture(ctx context.Context, o options) (results []*result, err error) {
	dir, err := os.MkdirTemp(o.dir, "orisun-torture-")
	if err != nil {
		return nil, err
	}
	// PostgreSQL runs as another account than root.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // its content has closed permissions of its own
		return nil, err
	}
	binDir := os.Getenv("ORISUN_PG_BIN_DIR") //nolint:forbidigo // this command has no other configuration
	config := roundConfig{dir: dir, pgBinDir: binDir, lasts: o.lasts, kinds: choices(o.only)}
	if len(config.kinds) == 0 {
		return nil, fmt.Errorf("--faults %q: no fault is called so", o.only)
	}
	if m, mutated := mutations[o.mutate]; mutated {
		config.mutation = &m
	}
	for _, what := range leftOut() {
		fmt.Println("left out:", what)
	}
	tags := ""
	if config.mutation != nil {
		tags = config.mutation.tags
	}
	if config.binary, err = build(ctx, dir, tags); err != nil {
		return nil, err
	}
	rounds := rounds{o: o, config: config, begun: time.Now()}
	var workers sync.WaitGroup
	for range max(o.parallel, 1) {
		workers.Go(func() { rounds.work(ctx) })
	}
	workers.Wait()
	if rounds.err == nil && !rounds.anomalies() && !o.keep {
		rounds.err = os.RemoveAll(dir)
	}
	return rounds.results, rounds.err
}

// choices are the faults whose names contain one of the words.
func choices(words string) (kinds []fault) {
	for _, kind := range catalogue {
		for word := range strings.SplitSeq(words, ",") {
			if strings.Contains(kind.name, strings.TrimSpace(word)) {
				kinds = append(kinds, kind)
				break
			}
		}
	}
	return kinds
}

// rounds assigns seeds and collects results.
type rounds struct {
	o      options
	config roundConfig
	begun  time.Time

	mu      sync.Mutex
	taken   int
	results []*result
	err     error
}

func (r *rounds) next() (seed uint64, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
	if r.o.whole > 0 {
		return r.fresh(), time.Since(r.begun) < r.o.whole
	}
	if r.o.seed != 0 {
		return r.o.seed, r.taken <= 1
	}
	return r.fresh(), r.taken <= r.o.seeds
}

// fresh seeds are small enough to be typed.
func (r *rounds) fresh() uint64 { return uint64(1 + rand.N(1_000_000)) } //nolint:gosec // no secret

func (r *rounds) work(ctx context.Context) {
	for seed, more := r.next(); more && ctx.Err() == nil; seed, more = r.next() {
		config := r.config
		config.dir = filepath.Join(r.config.dir, fmt.Sprint("seed-", seed))
		err := os.MkdirAll(config.dir, 0o755)
		var found *result
		if err == nil {
			found, err = run(ctx, config, seed)
		}
		if err == nil && len(found.anomalies) == 0 && !r.o.keep {
			err = os.RemoveAll(config.dir)
		}
		r.mu.Lock()
		if err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("seed %d, in %s: %w", seed, config.dir, err))
		}
		if found != nil {
			r.results = append(r.results, found)
			fmt.Println(line(found, config.dir))
		}
		r.mu.Unlock()
	}
}

func (r *rounds) anomalies() bool {
	for _, found := range r.results {
		if len(found.anomalies) > 0 {
			return true
		}
	}
	return false
}
