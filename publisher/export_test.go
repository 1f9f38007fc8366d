package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/oexza/orisun/db"
)

// ErrUnknownBoundary says that a publisher has not seen a boundary yet: it is not in the registry, or only since a
// moment ago.
var ErrUnknownBoundary = errors.New("the publisher does not know the boundary")

// Status is the state of a boundary.
func (p *Publisher) Status(boundary string) (outboxState, error) {
	o := p.find(boundary)
	if o == nil {
		return outboxState{}, fmt.Errorf("%w: %q", ErrUnknownBoundary, boundary)
	}
	return o.look(), nil
}

// Lag is how many events of a boundary wait to be published, on any node.
func (p *Publisher) Lag(ctx context.Context, boundary string) (int64, error) {
	o := p.find(boundary)
	if o == nil {
		return 0, fmt.Errorf("%w: %q", ErrUnknownBoundary, boundary)
	}
	last, err := db.New().GetLastPosition(ctx, o.config.Database, boundary)
	if err != nil {
		return 0, err
	}
	events, _, err := o.lag(ctx, last.GlobalID)
	return events, err
}
