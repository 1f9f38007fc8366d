package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	peerPoll = time.Second
	// peerGrace is how long a node must be away, or a route fail, before the node counts as missing. Nodes may start
	// in any order without a warning.
	peerGrace = 3 * time.Second
	// peerMemory is how long a node may be away before this node forgets it: it was removed for good.
	peerMemory = 24 * time.Hour
	// peerReminder is how often the log repeats that nodes are missing.
	peerReminder = time.Minute
	// routeErrorAge is how long an error of a route counts. NATS repeats it every second or two.
	routeErrorAge = 10 * time.Second

	// routeError begins the line that NATS logs each time that it cannot connect to another node.
	routeError = "Error trying to connect to route"
	// handshakeError is the line where a proxy accepts the connection, and closes it because the node behind it is
	// away.
	handshakeError = "TLS route handshake error: "
	// unknownPeer stands for the nodes of configured routes that this node has not met since its start.
	unknownPeer = ""
)

// peers reports the other nodes of a cluster that are missing: one line when a node is missing, one a minute while
// any is, one when it is back. NATS itself reports every connection attempt, four a second for each node.
type peers struct {
	log       *slog.Logger
	connected func() []string // names of the nodes with a route to this one
	now       func() time.Time

	mu       sync.Mutex
	away     map[string]time.Time // nodes that were connected, and the time of disconnection; zero while connected
	failing  time.Time            // since when routes to unknown nodes fail; zero while none fails
	failed   time.Time            // the last error of a route
	cause    string               // the text of the last error
	reported map[string]time.Time // missing nodes that the log has reported, and the time of disconnection
	reminded time.Time            // when the log last reported missing nodes
}

func newPeers(log *slog.Logger, connected func() []string) *peers {
	return &peers{
		log: log, connected: connected, now: time.Now, away: map[string]time.Time{}, reported: map[string]time.Time{},
	}
}

// routeNames are the nodes to which NATS has routes.
func routeNames(nats *server.Server) (names []string) {
	routes, err := nats.Routez(nil)
	if err != nil {
		return nil
	}
	for _, route := range routes.Routes {
		if route.RemoteName != "" && !slices.Contains(names, route.RemoteName) {
			names = append(names, route.RemoteName)
		}
	}
	return names
}

// noteError takes a line that NATS logs, and reports whether it is an error of a route.
func (p *peers) noteError(text string) bool {
	if _, cause, found := strings.Cut(text, handshakeError); found &&
		(cause == "EOF" || strings.HasSuffix(cause, "connection reset by peer")) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cause = "the connection ended before its TLS handshake: " + cause
		return true
	}
	if !strings.HasPrefix(text, routeError) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.failing.IsZero() || now.Sub(p.failed) > routeErrorAge {
		p.failing = now
	}
	p.failed = now
	_, p.cause, _ = strings.Cut(text, "): ")
	return true
}

func (p *peers) watch(ctx context.Context) {
	tick := time.NewTicker(peerPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.look()
		case <-ctx.Done():
			return
		}
	}
}

// look compares the connected nodes with those of the last call, and logs changes.
func (p *peers) look() {
	connected := p.connected()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for name, since := range p.away {
		if since.IsZero() && !slices.Contains(connected, name) {
			p.away[name] = now
		}
	}
	for _, name := range connected {
		if since, met := p.away[name]; !met || !since.IsZero() {
			p.failing, p.cause = time.Time{}, "" // this node's errors; those of another node recur
		}
		p.away[name] = time.Time{}
	}
	p.forget(now)
	missing := p.missing(now)
	for name, since := range p.reported {
		if _, still := missing[name]; !still {
			delete(p.reported, name)
			missingFor := slog.Duration("missing_for", now.Sub(since).Round(time.Second))
			if name == unknownPeer {
				p.log.Info("NATS: a node in ORISUN_NATS_CLUSTER_ROUTES is connected", missingFor)
			} else {
				p.log.Info("NATS: a node of the cluster is connected again", "node", name, missingFor)
			}
		}
	}
	fresh := false
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		if _, known := p.reported[name]; !known {
			fresh = true
			p.reported[name] = missing[name]
			if name == unknownPeer {
				p.log.Warn("NATS: a node in ORISUN_NATS_CLUSTER_ROUTES is missing; this node goes on without it", "error", p.cause)
			} else {
				p.log.Warn("NATS: a node of the cluster is missing; this node goes on without it", "node", name, "error", p.cause)
			}
		}
	}
	switch {
	case fresh || len(missing) == 0:
		p.reminded = now
	case now.Sub(p.reminded) >= peerReminder:
		p.reminded = now
		p.log.Warn("NATS: nodes of the cluster are still missing", "nodes", p.describe(missing, now), "error", p.cause)
	}
}

// forget removes the nodes that are away for longer than peerMemory.
func (p *peers) forget(now time.Time) {
	for name, since := range p.away {
		if !since.IsZero() && now.Sub(since) >= peerMemory {
			delete(p.away, name)
			delete(p.reported, name)
			p.log.Info("NATS: a node of the cluster is forgotten; it counts again when it connects", "node", name,
				"missing_for", now.Sub(since).Round(time.Second))
		}
	}
}

// missing are the nodes that are away for longer than peerGrace, and since when. A failing route belongs to one of
// them, if there are any. Otherwise it belongs to a node that was never met.
func (p *peers) missing(now time.Time) map[string]time.Time {
	missing := map[string]time.Time{}
	for name, since := range p.away {
		if !since.IsZero() && now.Sub(since) >= peerGrace {
			missing[name] = since
		}
	}
	since, reported := p.reported[unknownPeer]
	switch {
	case p.failing.IsZero() || now.Sub(p.failed) > routeErrorAge:
	case reported:
		missing[unknownPeer] = since
	case !p.isAnyAway() && now.Sub(p.failing) >= peerGrace:
		missing[unknownPeer] = p.failing
	}
	return missing
}

func (p *peers) isAnyAway() bool {
	for _, since := range p.away {
		if !since.IsZero() {
			return true
		}
	}
	return false
}

func (p *peers) describe(missing map[string]time.Time, now time.Time) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		since := now.Sub(missing[name]).Round(time.Second)
		if name == unknownPeer {
			all = append(all, fmt.Sprintf("one that has not connected yet (for %s)", since))
		} else {
			all = append(all, fmt.Sprintf("%s (for %s)", name, since))
		}
	}
	return strings.Join(all, ", ")
}

// names are the nodes that this one has met since its start and not forgotten: those with a route to it, and the
// others with the time of disconnection.
func (p *peers) names() (connected []string, away map[string]time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	away = map[string]time.Time{}
	for _, name := range slices.Sorted(maps.Keys(p.away)) {
		if since := p.away[name]; since.IsZero() {
			connected = append(connected, name)
		} else {
			away[name] = since
		}
	}
	return connected, away
}

// err names the missing nodes. nil means none.
func (p *peers) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	missing := p.missing(now)
	if len(missing) == 0 {
		return nil
	}
	text := "missing: " + p.describe(missing, now)
	if p.cause != "" {
		text += ": " + p.cause
	}
	return errors.New(text)
}
