package httpapi

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/service/auth"
)

const (
	// readinessPeriod is how often the required checks run, readinessLimit how long a check may take. Together they
	// are less than two seconds. Within that time /readyz and gRPC health notice that PostgreSQL stopped.
	readinessPeriod = 500 * time.Millisecond
	readinessLimit  = time.Second
	// readinessAge is how long the results of the other checks are cached, so that frequent probes cost PostgreSQL
	// nothing.
	readinessAge = time.Second
)

// Readiness is what /readyz and gRPC health report. Ready means that saves and queries are answered. The required
// checks run all the time and decide that for both. JetStream is not required: without it, subscribers read from
// PostgreSQL and saved events wait in the outbox, so the node reports it and stays in service. The same holds for a
// node whose saves PostgreSQL has no room for: it answers queries, and another node would not do better.
type Readiness struct {
	phase atomic.Pointer[string] // why calls are not answered; empty when they are
	vital atomic.Pointer[ReadinessAnswer]

	auth atomic.Pointer[auth.Authenticator] // nil until calls are answered

	mu       sync.Mutex // guards what follows, the cached results of the checks that are not required among it
	standing []string   // warnings that hold as long as the server runs
	checks   []Check
	warners  []Warner
	known    ReadinessAnswer
	begun    time.Time
}

// Warner returns current risks: what may lose events or give strangers access.
type Warner func(context.Context) []string

// Check is one of the conditions for answering calls.
type Check struct {
	Name     string
	Required bool
	Run      func(context.Context) error
}

// serving is gRPC health.
type serving interface{ SetServing(serving bool) }

// readinessStatus is the answer for callers that are not authenticated.
type readinessStatus struct {
	Ready   bool   `json:"ready"`
	Details string `json:"details,omitempty"` // why there are no parts
}

// ReadinessAnswer is the answer for the others.
type ReadinessAnswer struct {
	Ready    bool                     `json:"ready"`
	Serving  ReadinessPart            `json:"serving"`
	Checks   map[string]ReadinessPart `json:"checks"`
	Warnings []string                 `json:"warnings,omitempty"`
}

// ReadinessPart is the result of one check.
type ReadinessPart struct {
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Reason   string `json:"reason,omitempty"`
}

func newReadiness() *Readiness {
	r := &Readiness{}
	r.vital.Store(&ReadinessAnswer{Ready: true})
	r.enter("starting")
	return r
}

func (r *Readiness) enter(phase string) { r.phase.Store(&phase) }

// RestOn sets what answers to calls depend on, and which callers may read the details.
func (r *Readiness) RestOn(authenticator *auth.Authenticator, checks []Check, warners ...Warner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = time.Time{}
	r.checks, r.warners = checks, warners
	r.auth.Store(authenticator)
}

// Answers reports whether each required check succeeded in its last run.
func (r *Readiness) Answers(check string) bool { return r.vital.Load().Checks[check].OK }

// Warn adds a warning that holds as long as the server runs.
func (r *Readiness) Warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standing = append(r.standing, text)
}

// Draining reports that the server accepts no more calls.
func (r *Readiness) Draining() { r.enter("draining") }

// Ready reports that calls are answered, with the results of the required checks. watch repeats these until ctx ends.
func (r *Readiness) Ready(ctx context.Context, health serving) (watch func()) {
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

// look runs the required checks. gRPC health and /readyz report the results.
func (r *Readiness) look(ctx context.Context, health serving) {
	answer := r.run(ctx, true)
	if ctx.Err() != nil {
		return // the checks ended with it
	}
	r.vital.Store(&answer)
	health.SetServing(answer.Ready)
}

func (r *Readiness) serve(w http.ResponseWriter, request *http.Request) {
	var hidden error
	var looking sync.WaitGroup // both are slow while PostgreSQL is away
	looking.Go(func() { hidden = r.authenticate(request) })
	answer := r.Current(request.Context())
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

// authenticate returns nil where the caller may see the details. While PostgreSQL is away, callers that this node
// authenticated before may see them, since details are wanted then. Wrong credentials change nothing else: after a
// change of a password the node must stay in service.
func (r *Readiness) authenticate(request *http.Request) error {
	token, authorization := request.Header.Get("X-Auth-Token"), request.Header.Get("Authorization")
	if token == "" && authorization == "" {
		return errNoCredentials
	}
	authenticator := r.auth.Load()
	if authenticator == nil {
		return errNotChecked
	}
	from, err := netip.ParseAddrPort(request.RemoteAddr)
	if err != nil {
		return errNotChecked
	}
	ctx, cancel := context.WithTimeout(request.Context(), readinessLimit)
	defer cancel()
	_, err = authenticator.Authenticate(ctx, token, authorization, net.TCPAddrFromAddrPort(from))
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.Unauthenticated:
		return errWrongCredentials
	case codes.ResourceExhausted: // too many wrong passwords
		return errNotChecked
	default:
		if authenticator.HasCached(token, authorization) {
			return nil
		}
		return errNotChecked
	}
}

// Current joins the latest results of the required checks with the other checks. Those run again where their results
// are older than readinessAge. One request runs them, and concurrent requests wait for it.
func (r *Readiness) Current(ctx context.Context) ReadinessAnswer {
	answer := r.other(ctx)
	vital, phase := r.vital.Load(), *r.phase.Load()
	answer.Checks = maps.Clone(answer.Checks)
	maps.Copy(answer.Checks, vital.Checks)
	answer.Ready = vital.Ready && phase == ""
	answer.Serving = ReadinessPart{OK: phase == "", Required: true, Reason: phase}
	return answer
}

func (r *Readiness) other(ctx context.Context) ReadinessAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.begun) < readinessAge {
		return r.known
	}
	ctx = context.WithoutCancel(ctx) // other requests share the answer
	var warnings []string
	var looking sync.WaitGroup
	looking.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, readinessLimit)
		defer cancel()
		warnings = r.warnings(ctx)
	})
	r.known = r.run(ctx, false)
	looking.Wait()
	r.known.Warnings, r.begun = warnings, time.Now()
	return r.known
}

// run runs either the required checks or the others, all at once, so that no check uses up the time of another.
func (r *Readiness) run(ctx context.Context, required bool) ReadinessAnswer {
	ctx, cancel := context.WithTimeout(ctx, readinessLimit)
	defer cancel()
	answer := ReadinessAnswer{Ready: true, Checks: map[string]ReadinessPart{}}
	parts := make([]ReadinessPart, len(r.checks))
	var looking sync.WaitGroup
	for i, check := range r.checks {
		if check.Required == required {
			looking.Go(func() { parts[i] = check.look(ctx) })
		}
	}
	looking.Wait()
	for i, check := range r.checks {
		if check.Required == required {
			answer.Checks[check.Name] = parts[i]
			answer.Ready = answer.Ready && parts[i].OK
		}
	}
	return answer
}

func (c Check) look(ctx context.Context) ReadinessPart {
	part := ReadinessPart{OK: true, Required: c.Required}
	if err := c.Run(ctx); err != nil {
		part.OK, part.Reason = false, err.Error()
	}
	return part
}

// warnings are current risks: what may lose events or give strangers access.
func (r *Readiness) warnings(ctx context.Context) []string {
	warnings := slices.Clone(r.standing)
	for _, warn := range r.warners {
		warnings = append(warnings, warn(ctx)...)
	}
	return warnings
}
