package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// pollInterval is how often checkpoints are read while calls wait for them: one statement for each boundary.
const pollInterval = 50 * time.Millisecond

// waits reads the checkpoints that calls wait for.
type waits struct {
	mu   sync.Mutex
	open map[string]*polled // by boundary
}

// polled are the checkpoints of a boundary's subscriptions that calls wait for.
type polled struct {
	names   map[string]int // how many wait for each
	begun   int            // number of the last read
	read    int            // number of the read that at and failed are from
	at      map[string]Position
	failed  error
	changed chan struct{} // closed, and replaced, after each read
	stop    context.CancelFunc
}

// ErrNotReached ends a wait whose time is over.
var ErrNotReached = errors.New("the subscription did not reach the position in time")

// ErrUnknown ends a wait for a subscription that there is not, or that was deleted.
var ErrUnknown = errors.New("there is no such subscription")

// Wait returns when the lowest checkpoint of a subscription is at a position or after it, or with ErrNotReached,
// ErrUnknown, or the error of ctx or of PostgreSQL. With a position it says how far the subscription is: it has read
// the checkpoint at least once, however short the timeout is.
func (n *Node) Wait(
	ctx context.Context, boundary, subscription string, until int64, timeout time.Duration,
) (*orisunpb.Position, error) {
	p, begun := n.waitFor(boundary, subscription)
	defer n.waited(boundary, subscription, p)
	over := time.NewTimer(timeout)
	defer over.Stop()
	for isOver := false; ; {
		n.Hurry(boundary, subscription)
		n.waits.mu.Lock()
		at, known := p.at[subscription]
		failed, changed, read := p.failed, p.changed, p.read
		n.waits.mu.Unlock()
		switch {
		case read <= begun: // it began before this wait, and may be of a subscription that was reset since
		case failed != nil:
			return nil, failed
		case !known:
			return nil, ErrUnknown
		case at.GlobalID >= until:
			return at.proto(), nil
		case isOver:
			return at.proto(), ErrNotReached
		}
		select {
		case <-changed:
		case <-over.C:
			isOver = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// waitFor has a subscription's checkpoint read. Reads after begun have it.
func (n *Node) waitFor(boundary, subscription string) (p *polled, begun int) {
	n.waits.mu.Lock()
	defer n.waits.mu.Unlock()
	p = n.waits.open[boundary]
	if p == nil {
		ctx, stop := context.WithCancel(context.Background())
		p = &polled{names: make(map[string]int), changed: make(chan struct{}), stop: stop}
		n.waits.open[boundary] = p
		n.running.Go(func() { n.poll(ctx, boundary, p) })
	}
	p.names[subscription]++
	return p, p.begun
}

func (n *Node) waited(boundary, subscription string, p *polled) {
	n.waits.mu.Lock()
	defer n.waits.mu.Unlock()
	if p.names[subscription]--; p.names[subscription] == 0 {
		delete(p.names, subscription)
	}
	if len(p.names) == 0 {
		p.stop()
		delete(n.waits.open, boundary)
	}
}

func (n *Node) poll(ctx context.Context, boundary string, p *polled) {
	for ctx.Err() == nil {
		n.waits.mu.Lock()
		p.begun++
		names := slices.Collect(maps.Keys(p.names))
		n.waits.mu.Unlock()
		rows, err := n.queries.SubscriptionCheckpoints(ctx, n.config.Pool,
			db.SubscriptionCheckpointsParams{Boundary: boundary, Subscriptions: names})
		at := make(map[string]Position, len(rows)) // without those that there are not, or no longer
		for _, row := range rows {
			at[row.Subscription] = Position{row.TransactionID, row.GlobalID}
		}
		n.waits.mu.Lock()
		p.read, p.at, p.failed = p.begun, at, err
		close(p.changed)
		p.changed = make(chan struct{})
		n.waits.mu.Unlock()
		pause(ctx, pollInterval)
	}
}
