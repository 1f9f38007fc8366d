package consumer

import (
	"context"
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
	at      map[string]Position
	failed  error
	changed chan struct{} // closed, and replaced, after each read
	stop    context.CancelFunc
}

// Wait returns when the lowest checkpoint of a subscription is at a position or after it, or with the error of ctx or of
// PostgreSQL. It also returns how far the subscription is.
func (n *Node) Wait(ctx context.Context, boundary, subscription string, until int64) (*orisunpb.Position, error) {
	p := n.waitFor(boundary, subscription)
	defer n.waited(boundary, subscription, p)
	for {
		n.Hurry(boundary, subscription)
		n.waits.mu.Lock()
		at, known := p.at[subscription]
		failed, changed := p.failed, p.changed
		n.waits.mu.Unlock()
		switch {
		case failed != nil:
			return nil, failed
		case known && at.GlobalID >= until:
			return at.proto(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return at.proto(), ctx.Err()
		}
	}
}

func (n *Node) waitFor(boundary, subscription string) *polled {
	n.waits.mu.Lock()
	defer n.waits.mu.Unlock()
	p := n.waits.open[boundary]
	if p == nil {
		ctx, stop := context.WithCancel(context.Background())
		p = &polled{names: make(map[string]int), at: make(map[string]Position), changed: make(chan struct{}), stop: stop}
		n.waits.open[boundary] = p
		n.running.Go(func() { n.poll(ctx, boundary, p) })
	}
	p.names[subscription]++
	return p
}

func (n *Node) waited(boundary, subscription string, p *polled) {
	n.waits.mu.Lock()
	defer n.waits.mu.Unlock()
	if p.names[subscription]--; p.names[subscription] == 0 {
		delete(p.names, subscription)
		delete(p.at, subscription)
	}
	if len(p.names) == 0 {
		p.stop()
		delete(n.waits.open, boundary)
	}
}

func (n *Node) poll(ctx context.Context, boundary string, p *polled) {
	for ctx.Err() == nil {
		n.waits.mu.Lock()
		names := make([]string, 0, len(p.names))
		for name := range p.names {
			names = append(names, name)
		}
		n.waits.mu.Unlock()
		rows, err := n.queries.SubscriptionCheckpoints(ctx, n.config.Pool, db.SubscriptionCheckpointsParams{Boundary: boundary, Subscriptions: names})
		n.waits.mu.Lock()
		p.failed = err
		for _, row := range rows {
			p.at[row.Subscription] = Position{row.TransactionID, row.GlobalID}
		}
		close(p.changed)
		p.changed = make(chan struct{})
		n.waits.mu.Unlock()
		pause(ctx, pollInterval)
	}
}
