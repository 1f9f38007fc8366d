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

// followRegistry adds every boundary of the registry, whichever node creates it, until ctx ends.
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
	for _, boundary := range boundaries {
		if boundary.Status == activeBoundary {
			p.Add(boundary.Name)
		}
	}
	return nil
}
