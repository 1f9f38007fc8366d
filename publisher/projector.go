package publisher

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oexza/orisun/db"
)

// projectorPoll is how often a projector looks for events that came without a hint.
const projectorPoll = time.Second

// Projector applies a boundary's events to a table, on one node of the cluster at a time: the one that holds the lease
// "projector/<name>".
//
// What makes a projection right is the function that it runs, which applies events and moves its checkpoint in one
// transaction: a projector that is killed anywhere, or runs beside another one, applies each event once. The lease only
// spares the nodes the same work.
type Projector struct {
	leases         *Leases
	boundary, name string
	project        func(context.Context, db.DBTX) (int, error)
	log            *slog.Logger
	waits          bool // the log has that another node projects
	leads          atomic.Bool
}

// Leads reports whether this node projects.
func (p *Projector) Leads() bool { return p.leads.Load() }

// NewProjector returns a projector that does nothing before Run. project applies some of the next events in well below
// a second, on the connection of the lease, and returns how many; 0 when there are none.
func NewProjector(
	leases *Leases, boundary, name string, project func(context.Context, db.DBTX) (int, error), log *slog.Logger,
) *Projector {
	return &Projector{
		leases: leases, boundary: boundary, name: name, project: project,
		log: log.With("boundary", boundary, "projector", name),
	}
}

// Run projects until ctx ends. Nothing that happens to PostgreSQL ends it before: it logs once when projecting fails,
// and once when it works again.
func (p *Projector) Run(ctx context.Context) error {
	failed := false
	for backoff := newBackoff(); ctx.Err() == nil; {
		err := p.lead(ctx, func() {
			if failed {
				p.log.Info("projecting again")
			}
			backoff, failed = newBackoff(), false
		})
		if ctx.Err() != nil || errors.Is(err, ErrLost) {
			continue // with the next lease
		}
		if !failed && !IsDisconnected(err) {
			p.log.Warn("cannot project; trying again", "error", err)
			failed = true
		}
		pause(ctx, backoff)
	}
	return nil
}

// lead projects as long as it has the lease and nothing fails, and notifies works after each success.
func (p *Projector) lead(ctx context.Context, works func()) error {
	lease, err := p.leases.acquire(ctx, leaseKey{p.boundary, "projector/" + p.name}, Owner{}, func(err error) {
		if errors.Is(err, ErrHeld) && !p.waits {
			p.log.Info("Failed to start user projection (likely due to lock contention)")
			p.waits = true
		}
	})
	if err != nil {
		return err
	}
	p.waits = false
	p.leads.Store(true)
	defer func() {
		p.leads.Store(false)
		lease.Release()
	}()
	poll := time.NewTicker(projectorPoll)
	defer poll.Stop()
	for {
		count := 0
		err := lease.Do(ctx, func(ctx context.Context, tx db.DBTX) (err error) {
			count, err = p.project(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		works()
		if count > 0 {
			continue
		}
		select {
		case <-poll.C:
		case <-lease.Context().Done():
			return context.Cause(lease.Context())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
