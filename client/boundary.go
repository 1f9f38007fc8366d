package client

import (
	"context"

	"github.com/oexza/orisun/client/internal/wire"
)

// Boundary is a domain with events of its own: positions, ids and contexts never cross it.
type Boundary struct {
	Name        string
	Description string
	// Schema is the PostgreSQL schema of its tables.
	Schema string
	// Adopt takes over tables that exist in the schema, with their events.
	Adopt bool
}

// BoundaryState is a boundary as the server has it.
type BoundaryState struct {
	Boundary
	// Active: it can be used. Otherwise it is being created, or Error says why it failed.
	Active bool
	Error  string
}

// CreateBoundary creates a boundary. The same definition again is a success.
func (c *Client) CreateBoundary(ctx context.Context, boundary Boundary) (BoundaryState, error) {
	var out wire.CreateBoundaryResponse
	err := c.call(ctx, admin+"CreateBoundary", repeat, &wire.CreateBoundaryRequest{
		Name: boundary.Name, Description: boundary.Description, ExistedBeforeCatalog: boundary.Adopt,
		Placement: &wire.BoundaryPlacementInput{Backend: "postgres", Namespace: boundary.Schema},
	}, &out)
	return boundaryFrom(out.GetBoundary()), err
}

// Boundaries returns all boundaries.
func (c *Client) Boundaries(ctx context.Context) ([]BoundaryState, error) {
	var out wire.ListBoundariesResponse
	if err := c.call(ctx, admin+"ListBoundaries", repeat, &wire.ListBoundariesRequest{}, &out); err != nil {
		return nil, err
	}
	boundaries := make([]BoundaryState, len(out.GetBoundaries()))
	for i, b := range out.GetBoundaries() {
		boundaries[i] = boundaryFrom(b)
	}
	return boundaries, nil
}

// Boundary returns one boundary.
func (c *Client) Boundary(ctx context.Context, name string) (BoundaryState, error) {
	var out wire.GetBoundaryResponse
	err := c.call(ctx, admin+"GetBoundary", repeat, &wire.GetBoundaryRequest{Name: name}, &out)
	return boundaryFrom(out.GetBoundary()), err
}

// DeleteBoundary deletes a boundary with all of its events, and returns how many they were. confirm is the name
// again: what is deleted cannot be brought back.
func (c *Client) DeleteBoundary(ctx context.Context, name, confirm string) (events int64, err error) {
	var out wire.DeleteBoundaryResponse
	err = c.call(ctx, admin+"DeleteBoundary", once, &wire.DeleteBoundaryRequest{Name: name, ConfirmName: confirm}, &out)
	return out.GetEvents(), err
}

// EventCount counts the events of a boundary exactly.
func (c *Client) EventCount(ctx context.Context, boundary string) (int64, error) {
	var out wire.GetEventCountResponse
	err := c.call(ctx, admin+"GetEventCount", repeat, &wire.GetEventCountRequest{Boundary: boundary}, &out)
	return out.GetCount(), err
}

func boundaryFrom(b *wire.BoundaryInfo) BoundaryState {
	return BoundaryState{
		Boundary: Boundary{
			Name: b.GetName(), Description: b.GetDescription(), Schema: b.GetPlacement().GetNamespace(),
			Adopt: b.GetExistedBeforeCatalog(),
		},
		Active: b.GetStatus() == wire.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE,
		Error:  b.GetLastError(),
	}
}
