package client

import (
	"context"

	"github.com/oexza/orisun/client/internal/wire"
)

// Latest is the latest event of each criterion, all from one snapshot.
type Latest struct {
	// Events are in the order of the criteria; nil where nothing matches.
	Events []*Event
	// Position is the latest of theirs: what a save that is decided on them expects.
	Position Position
}

// Latest returns the latest event that matches each of the criteria. It is all that a decision needs whose events
// carry the state, such as a balance, in themselves:
//
//	latest, err := c.Latest(ctx, "bank", context)
//	…
//	c.Save(ctx, "bank", client.IfUnchanged(context, latest.Position), event)
func (c *Client) Latest(ctx context.Context, boundary string, criteria Criteria) (Latest, error) {
	query, err := criteria.wire()
	if err != nil {
		return Latest{}, err
	}
	var out wire.GetLatestByCriteriaResponse
	in := &wire.GetLatestByCriteriaRequest{Boundary: boundary, Criteria: query.GetCriteria()}
	if err := c.call(ctx, eventStore+"GetLatestByCriteria", repeat, in, &out); err != nil {
		return Latest{}, err
	}
	latest := Latest{Events: make([]*Event, len(out.GetResults())), Position: positionFrom(out.GetContextPosition())}
	for i, result := range out.GetResults() {
		if result.GetEvent() != nil {
			event := eventFrom(result.GetEvent())
			latest.Events[i] = &event
		}
	}
	return latest, nil
}
