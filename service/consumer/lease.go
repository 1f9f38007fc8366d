package consumer

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/oexza/orisun/db"
)

const (
	leaseTime     = 4 * time.Second
	renewInterval = time.Second
	renewTimeout  = 2 * time.Second
)

// renewals is how often another node has renewed its lease, and when this node first saw that.
type renewals struct {
	count int64
	since time.Time
}

// start begins to renew the lease, and returns when it holds.
func (n *Node) start(ctx context.Context) error {
	n.starting.Lock()
	defer n.starting.Unlock()
	n.mu.Lock()
	started := n.stop != nil
	n.mu.Unlock()
	if started {
		return nil
	}
	if err := n.renew(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	n.mu.Lock()
	n.stop = stop
	n.mu.Unlock()
	n.running.Go(func() { n.renewing(running) })
	n.running.Go(func() { n.refreshing(running) })
	n.running.Go(func() { n.savingCheckpoints(running) })
	return nil
}

// alive returns whether the lease holds.
func (n *Node) alive(now time.Time) bool {
	until := n.aliveUntil.Load()
	return until != nil && now.Before(*until)
}

// renew renews the lease. Where PostgreSQL had removed the node with its consumers, they join again.
func (n *Node) renew(ctx context.Context) error {
	n.renewal.Lock()
	defer n.renewal.Unlock()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	until := time.Now().Add(leaseTime) // before the request is sent
	row, err := n.queries.RenewSubscriptionNode(ctx, n.config.Pool, db.RenewSubscriptionNodeParams{
		Node: *n.id.Load(), NextNode: uuid.NewString(), Name: n.config.Name,
	})
	if err != nil {
		return err
	}
	if row.Node != *n.id.Load() { // others may hold what its consumers held
		for _, m := range n.all(group{}) {
			m.lose()
		}
	}
	if row.Node != *n.id.Load() || row.Changes != n.changes {
		n.id.Store(&row.Node)
		n.changes = row.Changes
		n.refreshNow(group{})
	}
	n.aliveUntil.Store(&until)
	if err := n.expire(ctx, row); err != nil {
		n.config.Log.WarnContext(ctx, "cannot remove nodes whose lease has ended; trying again", "error", err)
	}
	return nil
}

// expire removes other nodes that have not renewed their leases for the lease time. The caller holds renewal.
func (n *Node) expire(ctx context.Context, row db.RenewSubscriptionNodeRow) error {
	now := time.Now()
	others := make(map[string]renewals, len(row.Others))
	var dead db.ExpireSubscriptionNodesParams
	for i, other := range row.Others {
		seen, known := n.others[other]
		switch {
		case !known || seen.count != row.Renewals[i]:
			seen = renewals{row.Renewals[i], now}
		case now.Sub(seen.since) >= leaseTime:
			dead.Nodes, dead.Renewals = append(dead.Nodes, other), append(dead.Renewals, seen.count)
		}
		others[other] = seen
	}
	n.others = others
	if len(dead.Nodes) > 0 {
		if err := n.queries.ExpireSubscriptionNodes(ctx, n.config.Pool, dead); err != nil {
			return err
		}
	}
	if len(dead.Nodes) == 0 && !row.Expired {
		return nil
	}
	defer n.refreshNow(group{})
	return n.queries.RemoveSubscriptionNodes(ctx, n.config.Pool)
}

func (n *Node) renewing(ctx context.Context) {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := n.renew(ctx)
		switch {
		case err != nil && !failed && ctx.Err() == nil:
			n.config.Log.WarnContext(ctx, "cannot renew the lease of this node's consumers; trying again", "error", err)
			failed = true
		case err == nil && failed:
			n.config.Log.InfoContext(ctx, "the lease of this node's consumers is renewed again")
			failed = false
		}
	}
}
