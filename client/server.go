package client

import (
	"context"
	"slices"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// Ping returns nil if the server works and the credentials are right.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, eventStore+"Ping", repeat, &wire.PingRequest{}, &wire.PingResponse{})
}

// Server is what a node says about itself.
type Server struct {
	Version, Commit, BuildTime, NodeID string
	// IndexManagement and BoundaryCatalog say whether it has the calls about indexes and boundaries.
	IndexManagement, BoundaryCatalog bool
}

// Server returns what the node that answers runs.
func (c *Client) Server(ctx context.Context) (Server, error) {
	var out wire.GetServerInfoResponse
	err := c.call(ctx, eventStore+"GetServerInfo", repeat, &wire.GetServerInfoRequest{}, &out)
	has := func(capability wire.ServerCapability) bool { return slices.Contains(out.GetCapabilities(), capability) }
	return Server{
		Version: out.GetVersion(), Commit: out.GetGitCommit(), BuildTime: out.GetBuildTime(), NodeID: out.GetNodeId(),
		IndexManagement: has(wire.ServerCapability_SERVER_CAPABILITY_INDEX_MANAGEMENT),
		BoundaryCatalog: has(wire.ServerCapability_SERVER_CAPABILITY_BOUNDARY_CATALOG),
	}, err
}

// Explanation says how the server reads the events of criteria.
type Explanation struct {
	Scans []Scan
	// Events is how many a page has, Buffers how many pages of 8 kB PostgreSQL touched for it.
	Events, Buffers     int64
	Planning, Execution time.Duration
	// Plan is PostgreSQL's own explanation in JSON.
	Plan string
}

// Scan is one walk through one index of PostgreSQL.
type Scan struct {
	// Criteria are the indexes, from 0, of the criteria that it finds events for.
	Criteria []int
	Index    string
	// Served is false where no index serves the criteria, so that all events are read.
	Served bool
	// Events is how many it found, Filtered how many it read in vain.
	Events, Filtered, Buffers int64
}

// Explain reads the first page of what [Client.Get] returns and says how.
func (c *Client) Explain(ctx context.Context, boundary string, criteria Criteria) (Explanation, error) {
	query, err := criteria.wire()
	if err != nil {
		return Explanation{}, err
	}
	var out wire.ExplainResponse
	in := &wire.ExplainRequest{GetEvents: &wire.GetEventsRequest{Boundary: boundary, Query: query}}
	if err := c.call(ctx, eventStore+"Explain", repeat, in, &out); err != nil {
		return Explanation{}, err
	}
	milliseconds := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
	explanation := Explanation{
		Events: out.GetEvents(), Buffers: out.GetBuffers(), Plan: out.GetPlan(),
		Planning: milliseconds(out.GetPlanningMs()), Execution: milliseconds(out.GetExecutionMs()),
	}
	for _, scan := range out.GetScans() {
		s := Scan{
			Index: scan.GetIndex(), Served: scan.GetServed(),
			Events: scan.GetEvents(), Filtered: scan.GetFiltered(), Buffers: scan.GetBuffers(),
		}
		for _, number := range scan.GetCriteria() {
			s.Criteria = append(s.Criteria, int(number)-1)
		}
		explanation.Scans = append(explanation.Scans, s)
	}
	return explanation, nil
}
