package main

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/server/config"
)

const (
	// readinessPeriod is how often the required checks run, readinessLimit how long a check may take. Together they are less than two seconds, the
	// time in which /readyz and gRPC health notice that PostgreSQL stopped.
	readinessPeriod = 500 * time.Millisecond
	readinessLimit  = time.Second
	// readinessAge is how long the results of the other checks are cached, so that frequent probes cost PostgreSQL nothing.
	readinessAge = time.Second
	// schemaAge is how long a schema that was found up to date counts as such: the check takes a connection of its own.
	schemaAge = 10 * time.Second
	// probeConnections are those of readiness: no caller uses them.
	probeConnections = 1
)

// readiness is what /readyz and gRPC health report. Ready means that saves and queries are answered: the required checks, which run all the
// time, decide that for both. JetStream is not required: while it is away, subscribers read from PostgreSQL and saved events wait in the
// outbox, so the node is reported and stays in service. So is a node whose saves PostgreSQL has no room for: it answers queries, and another
// node would not do better.
type readiness struct {
	config *config.Config

	phase atomic.Pointer[string] // why calls are not answered; empty when they are
	vital atomic.Pointer[readinessAnswer]

	callers atomic.Pointer[callers] // nil until calls are answered

	mu       sync.Mutex // guards what follows, the cached results of the checks that are not required among it
	standing []string   // warnings that hold as long as the server runs
	checks   []readinessCheck
	known    readinessAnswer
	asked    time.Time
	unsafe   func(context.Context) ([]string, error)
	rights   func(context.Context) ([]string, error)
	isOpen   func(context.Context) (bool, error)
	open     func(context.Context) ([]string, error) // schemas in which every role may create objects
}

type readinessCheck struct {
	name     string
	required bool
	check    func(context.Context) error
}

// serving is gRPC health.
type serving interface{ SetServing(serving bool) }

// readinessStatus is the answer for callers who are not authenticated.
type readinessStatus struct {
	Ready   bool   `json:"ready"`
	Details string `json:"details,omitempty"` // why there are none
}

// readinessAnswer is the answer for the others.
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

func newReadiness(config *config.Config) *readiness {
	r := &readiness{config: config}
	r.vital.Store(&readinessAnswer{Ready: true})
	r.enter("starting")
	return r
}

func (r *readiness) enter(phase string) { r.phase.Store(&phase) }

// restOn sets what the answers to calls rest on. Checks and logins share pool, so that queries cannot keep them waiting.
func (r *readiness) restOn(pool *pgxpool.Pool, streams *streaming, callers *callers, shortage func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = time.Time{}
	r.checks = []readinessCheck{
		{"postgresql", true, pool.Ping},
		{"migrations", true, cachedFor(schemaAge, func(ctx context.Context) error {
			return migrations.Check(ctx, pool.Config().ConnConfig, r.config.PG.MigrationsTable)
		})},
		{"saves", false, func(context.Context) error { return shortage() }},
		{"jetstream", false, streams.check},
	}
	if r.config.NATS.ClusterEnabled {
		r.checks = append(r.checks, readinessCheck{"cluster", false, func(context.Context) error { return streams.nats.Missing() }})
	}
	r.callers.Store(callers)
	r.isOpen = callers.defaultPasswordIsOpen
	r.unsafe = func(ctx context.Context) ([]string, error) { return unsafeSettings(ctx, pool) }
	r.rights = rightsOf(pool)
	r.open = func(ctx context.Context) ([]string, error) { return openSchemas(ctx, pool) }
}

// cachedFor repeats a check that succeeded only after some time. A check that does not end in time changes nothing then: a PostgreSQL that is busy has
// the schema that it had.
func cachedFor(age time.Duration, check func(context.Context) error) func(context.Context) error {
	var succeeded time.Time
	return func(ctx context.Context) error {
		if time.Since(succeeded) < age {
			return nil
		}
		err := check(ctx)
		if err == nil {
			succeeded = time.Now()
		}
		if ctx.Err() != nil && !succeeded.IsZero() {
			return nil
		}
		return err
	}
}

// warn adds a warning that holds as long as the server runs.
func (r *readiness) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standing = append(r.standing, text)
}

// draining reports that the server takes no more calls.
func (r *readiness) draining() { r.enter("draining") }

// ready reports that calls are answered, with the results of the required checks; watch goes on with these until ctx ends.
func (r *readiness) ready(ctx context.Context, health serving) (watch func()) {
	r.look(ctx, health)
	r.enter("")
	return func() {
		tick := time.NewTicker(readinessPeriod)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.look(ctx, health)
			case <-ctx.Done():
				return
			}
		}
	}
}

// look runs the required checks. What they find is what gRPC health and /readyz report.
func (r *readiness) look(ctx context.Context, health serving) {
	answer := r.run(ctx, true)
	if ctx.Err() != nil {
		return // the checks ended with it
	}
	r.vital.Store(&answer)
	health.SetServing(answer.Ready)
}

func (r *readiness) serve(w http.ResponseWriter, request *http.Request) {
	var hidden error
	var looking sync.WaitGroup // both take their time while PostgreSQL is away
	looking.Go(func() { hidden = r.authenticate(request) })
	answer := r.ask(request.Context())
	looking.Wait()
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	if hidden != nil {
		answerJSON(w, status, readinessStatus{Ready: answer.Ready, Details: hidden.Error()})
		return
	}
	answerJSON(w, status, answer)
}

var (
	errNoCredentials    = errors.New("for authenticated callers only")
	errNotChecked       = errors.New("the credentials cannot be checked now; the server's log has the details")
	errWrongCredentials = errors.New("the credentials are wrong or expired")
)

// authenticate returns nil where the caller may see the details. While PostgreSQL is away, callers count whom this node
// let in before: that is when details are wanted. Wrong credentials change nothing else, since a password that was
// changed must not take the node out.
func (r *readiness) authenticate(request *http.Request) error {
	token, authorization := request.Header.Get("X-Auth-Token"), request.Header.Get("Authorization")
	if token == "" && authorization == "" {
		return errNoCredentials
	}
	callers := r.callers.Load()
	if callers == nil {
		return errNotChecked
	}
	from, err := netip.ParseAddrPort(request.RemoteAddr)
	if err != nil {
		return errNotChecked
	}
	ctx, cancel := context.WithTimeout(request.Context(), readinessLimit)
	defer cancel()
	_, err = callers.auth.Authenticate(ctx, token, authorization, net.TCPAddrFromAddrPort(from))
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.Unauthenticated:
		return errWrongCredentials
	case codes.ResourceExhausted: // too many wrong passwords
		return errNotChecked
	default:
		if callers.auth.Remembers(token, authorization) {
			return nil
		}
		return errNotChecked
	}
}

// ask joins the latest results of the required checks with the other checks, which run again where their results are older than readinessAge. One request runs them, the
// others wait for it.
func (r *readiness) ask(ctx context.Context) readinessAnswer {
	answer := r.other(ctx)
	vital, phase := r.vital.Load(), *r.phase.Load()
	answer.Checks = maps.Clone(answer.Checks)
	maps.Copy(answer.Checks, vital.Checks)
	answer.Ready = vital.Ready && phase == ""
	answer.Serving = readinessPart{OK: phase == "", Required: true, Reason: phase}
	return answer
}

func (r *readiness) other(ctx context.Context) readinessAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < readinessAge {
		return r.known
	}
	ctx = context.WithoutCancel(ctx) // the answer is for others, too
	var warnings []string
	var looking sync.WaitGroup
	looking.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, readinessLimit)
		defer cancel()
		warnings = r.warnings(ctx)
	})
	r.known = r.run(ctx, false)
	looking.Wait()
	r.known.Warnings, r.asked = warnings, time.Now()
	return r.known
}

// run runs the checks that are required, or the others, all at once: none uses up the time of another.
func (r *readiness) run(ctx context.Context, required bool) readinessAnswer {
	ctx, cancel := context.WithTimeout(ctx, readinessLimit)
	defer cancel()
	answer := readinessAnswer{Ready: true, Checks: map[string]readinessPart{}}
	parts := make([]readinessPart, len(r.checks))
	var looking sync.WaitGroup
	for i, check := range r.checks {
		if check.required == required {
			looking.Go(func() { parts[i] = check.look(ctx) })
		}
	}
	looking.Wait()
	for i, check := range r.checks {
		if check.required == required {
			answer.Checks[check.name] = parts[i]
			answer.Ready = answer.Ready && parts[i].OK
		}
	}
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
func (r *readiness) warnings(ctx context.Context) []string {
	warnings := slices.Clone(r.standing)
	if r.unsafe != nil {
		settings, err := r.unsafe(ctx)
		for _, setting := range settings {
			warnings = append(warnings, "PostgreSQL's "+setting+" is off: a crash may lose acknowledged events")
		}
		if err != nil {
			warnings = append(warnings, "PostgreSQL's settings are unknown: "+err.Error())
		}
	}
	if r.rights != nil {
		missing, err := r.rights(ctx)
		if err != nil {
			warnings = append(warnings, "the rights of the server's role in PostgreSQL are unknown: "+err.Error())
		} else if len(missing) > 0 {
			warnings = append(warnings, "the server's role lacks rights in PostgreSQL: "+strings.Join(missing, "; "))
		}
	}
	if r.open != nil {
		schemas, err := r.open(ctx)
		for _, schema := range schemas {
			warnings = append(warnings, "every role may create objects in schema "+schema+", which is a boundary's: REVOKE CREATE ON SCHEMA "+schema+" FROM PUBLIC")
		}
		if err != nil {
			warnings = append(warnings, "the rights on schemas are unknown: "+err.Error())
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
