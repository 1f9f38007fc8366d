package service

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// Explain runs a GetEvents, drops the page and returns how it was read. Errors: as GetEvents, except that no page is
// too large.
func (s *EventStore) Explain(ctx context.Context, in *orisunpb.ExplainRequest) (*orisunpb.ExplainResponse, error) {
	if in.GetGetEvents() == nil {
		var v violations
		v.add("get_events", "is required: the call to explain")
		return nil, v.err()
	}
	params, err := pageParams("get_events.", in.GetGetEvents())
	if err != nil {
		return nil, err
	}
	text, err := reading(ctx, s, in.GetGetEvents().GetBoundary(), func(tx db.DBTX) (string, error) {
		return s.queries.ExplainPage(ctx, tx, db.ExplainPageParams{
			Boundary: in.GetGetEvents().GetBoundary(), Criteria: params.Criteria,
			AfterTransactionID: params.AfterTransactionID, AfterGlobalID: params.AfterGlobalID,
			EndTransactionID: params.EndTransactionID, EndGlobalID: params.EndGlobalID,
			Descending: params.Descending, Count: params.Count,
		})
	})
	if err != nil {
		return nil, err
	}
	var explained struct {
		Events      int64
		Buffers     int64
		PlanningMS  float64 `json:"planning_ms"`
		ExecutionMS float64 `json:"execution_ms"`
		Plan        json.RawMessage
		Scans       []struct {
			Criteria                  []uint32
			Index                     string
			Served                    bool
			Events, Filtered, Buffers int64
		}
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		return nil, internal(fmt.Errorf("read what orisun.explain_page returned: %w", err))
	}
	answer := &orisunpb.ExplainResponse{
		Events: explained.Events, Buffers: explained.Buffers, PlanningMs: explained.PlanningMS,
		ExecutionMs: explained.ExecutionMS, Plan: string(explained.Plan),
	}
	for _, scan := range explained.Scans {
		answer.Scans = append(answer.Scans, &orisunpb.ExplainedScan{
			Criteria: scan.Criteria, Index: scan.Index, Served: scan.Served, Events: scan.Events, Filtered: scan.Filtered,
			Buffers: scan.Buffers,
		})
	}
	return answer, nil
}
