package client

import (
	"context"

	"github.com/oexza/orisun/client/internal/wire"
)

// Condition is what must hold for a save.
type Condition struct {
	criteria Criteria
	seen     Position
	set      bool
}

// Always is the condition of a save that is stored whatever was stored before.
var Always = Condition{}

// IfUnchanged holds if no event that matches the criteria was stored after the position seen. The zero position: if
// none was stored at all. Nil criteria match every event of the boundary.
func IfUnchanged(context Criteria, seen Position) Condition {
	return Condition{criteria: context, seen: seen, set: true}
}

func (c Condition) wire() (*wire.SaveQuery, error) {
	if !c.set {
		return nil, nil //nolint:nilnil // a save without a condition has no query
	}
	query, err := c.criteria.wire()
	return &wire.SaveQuery{ExpectedPosition: c.seen.wire(), SubsetQuery: query}, err
}

// Save stores events in one transaction, if the condition holds, and returns the position of the last one. It is
// idempotent: the same events (ids, types and data) again return the position of the first save, so Save repeats a call
// whose outcome it does not know.
//
// Errors: [ErrConflict] (*[ConflictError]), [ErrEventIDReused], [ErrInvalid], [ErrNotFound], [ErrUnavailable].
func (c *Client) Save(ctx context.Context, boundary string, condition Condition, events ...NewEvent) (Position, error) {
	encoded := make([]*wire.EventToSave, len(events))
	for i, event := range events {
		var err error
		if encoded[i], err = event.wire(); err != nil {
			return Position{}, err
		}
	}
	return c.save(ctx, boundary, condition, encoded)
}

func (c *Client) save(
	ctx context.Context, boundary string, condition Condition, events []*wire.EventToSave,
) (Position, error) {
	query, err := condition.wire()
	if err != nil {
		return Position{}, err
	}
	var out wire.WriteResult
	in := &wire.SaveEventsRequest{Boundary: boundary, Query: query, Events: events}
	if err := c.call(ctx, eventStore+"SaveEvents", repeat, in, &out); err != nil {
		return Position{}, err
	}
	return positionFrom(out.GetLogPosition()), nil
}
