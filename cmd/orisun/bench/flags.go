package bench

import (
	"math/rand/v2"
	"time"

	"github.com/spf13/pflag"
)

// AddFlags adds the flags of the load, with their defaults.
func (c *Config) AddFlags(flags *pflag.FlagSet, workloads []string) {
	flags.StringSliceVar(&c.Workloads, "workload", workloads, "workloads to run")
	flags.IntSliceVar(&c.Clients, "clients", []int{1, 16, 64, 256},
		"numbers of concurrent clients to run each workload with")
	flags.DurationVar(&c.WarmUp, "warm-up", 2*time.Second, "time before each window")
	flags.DurationVar(&c.Duration, "duration", 6*time.Second, "length of each window")
	flags.IntVar(&c.Repeat, "repeat", 1, "how often to run it all")
	flags.IntVar(&c.Connections, "connections", 1, "HTTP/2 connections that the clients share")
	flags.IntVar(&c.SeedEvents, "seed-events", 100_000, "events to save before the first workload")
	flags.IntVar(&c.Contexts, "contexts", 10_000, "contexts to spread the events over")
	flags.IntVar(&c.Accounts, "accounts", 1000, "accounts that the commands of decide and transfer choose from")
	flags.IntVar(&c.Criteria, "criteria", 4, "criteria of a command of decide, in two shapes")
	flags.IntVar(&c.Events, "events", 1, "events that a command of decide saves")
	flags.IntVar(&c.Payload, "payload", 256, "bytes of an event's data")
	random := rand.Uint64() //nolint:gosec // no secret
	flags.Uint64Var(&c.Seed, "seed", random, "makes choices and payloads repeatable (default random)")
	flags.Lookup("seed").DefValue = "0" // which help leaves out
}
