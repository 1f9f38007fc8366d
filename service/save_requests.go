package service

import (
	"cmp"
	"context"
	"slices"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
)

// saveRequests calls the boundary's save_requests, which decides all outcomes. The results are in request order.
func (s *EventStore) saveRequests(
	ctx context.Context, name string, batch []*orisunpb.SaveEventsRequest,
) ([]db.OrisunSaveResult, error) {
	conn, err := s.config.Write.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	own, err := s.boundaries.On(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	// pgx sends a nil slice as NULL; no criteria are an empty array.
	params := db.SaveRequestsParams{CriterionRequests: []int32{}, Criteria: []string{}}
	for _, in := range batch {
		appendRequest(&params, in)
	}
	ended := s.lockWaits.watch(ctx, name, conn.Conn().PgConn().PID())
	results, err := s.queries.SaveRequests(ctx, own, params)
	ended(err)
	slices.SortFunc(results, func(a, b db.OrisunSaveResult) int { return cmp.Compare(a.Request, b.Request) })
	return results, s.boundaries.Check(name, err)
}

// appendRequest adds a checked request to the arrays of a call. Requests are numbered from 1, as in SQL.
func appendRequest(params *db.SaveRequestsParams, in *orisunpb.SaveEventsRequest) {
	expected := expectedPosition(in)
	params.ExpectedTransactionIds = append(params.ExpectedTransactionIds, expected.GetTransactionId())
	params.ExpectedGlobalIds = append(params.ExpectedGlobalIds, expected.GetGlobalId())
	request := int32(len(params.ExpectedGlobalIds))

	for _, criterion := range boundary.Criteria(contextOf(in)) {
		params.CriterionRequests = append(params.CriterionRequests, request)
		params.Criteria = append(params.Criteria, criterion)
	}
	for _, event := range in.GetEvents() {
		params.EventRequests = append(params.EventRequests, request)
		params.EventIds = append(params.EventIds, event.GetEventId())
		params.EventTypes = append(params.EventTypes, event.GetEventType())
		params.Data = append(params.Data, event.GetData())
		params.Metadata = append(params.Metadata, event.GetMetadata())
	}
}
