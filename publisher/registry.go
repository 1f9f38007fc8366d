package publisher

import (
	"context"
	"time"

	"github.com/oexza/orisun/db"
)

const (
	// registryPoll is how often a publisher looks for boundaries that another node created.
	registryPoll = time.Second
	// registryLimit bounds one look, waiting for a connection included.
	registryLimit = 5 * time.Second

	// activeBoundary is the status of a boundary that has its tables.
	activeBoundary = "ACTIVE"
)

// followRegistry adds every boundary of the registry, and removes those that are gone, whichever node creates or
// deletes them, until ctx ends.
func (p *Publisher) followRegistry(ctx context.Context) {
	poll := time.NewTicker(registryPoll)
	defer poll.Stop()
	for failed := false; ctx.Err() == nil; {
		err := p.readRegistry(ctx)
		if err != nil && !failed && ctx.Err() == nil && !IsDisconnected(err) {
			p.log.Warn("cannot look for new boundaries; trying again", "error", err)
			failed = true
		}
		failed = failed && err != nil
		select {
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

func (p *Publisher) readRegistry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryLimit)
	defer cancel()
	boundaries, err := db.New().ListBoundaries(ctx, p.config.Database)
	if err != nil {
		return err
	}
	created := make(map[string]time.Time, len(boundaries))
	for _, boundary := range boundaries {
		if boundary.Status == activeBoundary {
			created[boundary.Name] = boundary.CreatedAt
		}
	}
	for _, boundary := range p.outdated(created) {
		p.Remove(boundary)
	}
	for boundary, since := range created {
		p.Add(boundary)
		p.note(boundary, since)
	}
	return nil
}

// outdated are the boundaries that were in the registry and are gone, or were created again: their events begin again.
func (p *Publisher) outdated(created map[string]time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, o := range p.outboxes {
		if since, exists := created[name]; !o.since.IsZero() && (!exists || !since.Equal(o.since)) {
			names = append(names, name)
		}
	}
	return names
}

// note keeps when a boundary was created.
func (p *Publisher) note(boundary string, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.outboxes[boundary]; o != nil {
		o.since = since
	}
}
