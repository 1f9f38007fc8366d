package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations"
)

const (
	// readinessLimit is how long a check may take: half of what probes usually wait.
	readinessLimit = 2 * time.Second
	// readinessAge is for how long an answer holds, so that whoever asks often costs PostgreSQL nothing.
	readinessAge = time.Second
)

// readiness is what /readyz says. Ready means that saves and questions are answered. JetStream is no part of that: while it is away
// subscribers read from PostgreSQL and what is saved waits in the outbox, so a node without it is told of, and stays in service. So does one
// whose saves PostgreSQL has no room for: questions are answered, and another node would fare no better.
type readiness struct {
	config *Config

	phase atomic.Pointer[string] // why calls are not answered; empty when they are

	mu     sync.Mutex
	checks []readinessCheck
	known  readinessAnswer
	asked  time.Time
	unsafe func(context.Context) ([]string, error)
	isOpen func(context.Context) (bool, error)
}

type readinessCheck struct {
	name     string
	required bool
	check    func(context.Context) error
}

type readinessAnswer struct {
	Ready    bool                     `json:"ready"`
	Serving  readinessPart            `json:"serving"`
	Checks   map[string]readinessPart `json:"checks"`
	Warnings []string                 `json:"warnings,omitempty"`
}

type readinessPart struct {
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Reason   string `json:"reason,omitempty"`
}

func newReadiness(config *Config) *readiness {
	r := &readiness{config: config}
	r.enter("starting")
	return r
}

func (r *readiness) enter(phase string) { r.phase.Store(&phase) }

// ready says that calls are answered, and what that rests on.
func (r *readiness) ready(pool *pgxpool.Pool, streams *streaming, callers *callers, shortage func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.enter("")
	r.asked = time.Time{}
	r.checks = []readinessCheck{
		{"postgresql", true, pool.Ping},
		{"migrations", true, func(ctx context.Context) error {
			return migrations.Check(ctx, pool.Config().ConnConfig, r.config.PG.MigrationsTable)
		}},
		{"saves", false, func(context.Context) error { return shortage() }},
		{"jetstream", false, streams.check},
	}
	r.isOpen = callers.defaultPasswordIsOpen
	r.unsafe = func(ctx context.Context) ([]string, error) { return unsafeSettings(ctx, pool) }
}

// draining says that calls are not taken any more.
func (r *readiness) draining() { r.enter("draining") }

func (r *readiness) serve(w http.ResponseWriter, request *http.Request) {
	answer := r.ask(request.Context())
	phase := *r.phase.Load()
	answer.Ready = answer.Ready && phase == ""
	answer.Serving = readinessPart{OK: phase == "", Required: true, Reason: phase}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	answerJSON(w, status, answer)
}

// ask looks at what calls rest on, anew where the last look is older than readinessAge. One looks, the others wait for it.
func (r *readiness) ask(ctx context.Context) readinessAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < readinessAge {
		return r.known
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessLimit) // the answer is for others, too
	defer cancel()
	answer := readinessAnswer{Ready: true, Checks: map[string]readinessPart{}}
	parts := make([]readinessPart, len(r.checks))
	var looking sync.WaitGroup // at all at once: none uses up the time of another
	looking.Go(func() { answer.Warnings = r.warnings(ctx) })
	for i, check := range r.checks {
		looking.Go(func() { parts[i] = check.look(ctx) })
	}
	looking.Wait()
	for i, check := range r.checks {
		answer.Checks[check.name] = parts[i]
		answer.Ready = answer.Ready && (parts[i].OK || !check.required)
	}
	r.known, r.asked = answer, time.Now()
	return answer
}

func (c readinessCheck) look(ctx context.Context) readinessPart {
	part := readinessPart{OK: true, Required: c.required}
	if err := c.check(ctx); err != nil {
		part.OK, part.Reason = false, err.Error()
	}
	return part
}

// warnings are what may cost events, or lets strangers in.
func (r *readiness) warnings(ctx context.Context) (warnings []string) {
	if r.unsafe != nil {
		settings, err := r.unsafe(ctx)
		for _, setting := range settings {
			warnings = append(warnings, "PostgreSQL's "+setting+" is off: a crash may lose acknowledged events")
		}
		if err != nil {
			warnings = append(warnings, "PostgreSQL's settings are unknown: "+err.Error())
		}
	}
	if r.isOpen != nil {
		open, err := r.isOpen(ctx)
		if err != nil {
			warnings = append(warnings, "whether the admin has the default password is unknown: "+err.Error())
		} else if open {
			warnings = append(warnings, "the admin has the default password, and ORISUN_GRPC_HOST, ORISUN_ADMIN_HOST or ORISUN_NATS_HOST lets others than this machine in: change it with orisun user password")
		}
	}
	return warnings
}
