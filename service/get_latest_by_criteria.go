package service

import (
	"context"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// GetLatestByCriteria answers the latest event of each criterion, all of one snapshot, and the position that a save which
// rests on them expects. Errors: as GetEvents.
func (s *EventStore) GetLatestByCriteria(ctx context.Context, in *orisunpb.GetLatestByCriteriaRequest) (*orisunpb.GetLatestByCriteriaResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	if len(in.GetCriteria()) == 0 {
		v.add("criteria", "is required: at least one criterion")
	}
	v.criteria("criteria", in.GetCriteria())
	if err := v.err(); err != nil {
		return nil, err
	}
	answer := &orisunpb.GetLatestByCriteriaResponse{ContextPosition: &orisunpb.Position{TransactionId: -1, GlobalId: -1}}
	for _, criterion := range in.GetCriteria() {
		answer.Results = append(answer.Results, &orisunpb.LatestCriterionResult{Criterion: criterion})
	}
	leave, err := s.reads.Enter(ctx, in.GetBoundary())
	if err != nil {
		return nil, err
	}
	defer leave()
	query, cancel := context.WithCancel(ctx)
	defer cancel()
	own, err := s.boundaries.On(query, s.config.Read, in.GetBoundary())
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	rows, err := own.Query(query, db.GetLatestByCriteria, boundary.Criteria(in.GetCriteria()))
	if err != nil {
		return nil, toStatus(ctx, s.boundaries.Check(in.GetBoundary(), err))
	}
	defer rows.Close()
	var criterion int32
	for size := 0; rows.Next(); {
		event, err := scanEvent(rows, &criterion)
		if err != nil {
			return nil, toStatus(ctx, err)
		}
		if size += eventSize(event); size > s.config.MaxPageBytes {
			cancel()
			return nil, pageTooLarge(s.config.MaxPageBytes, "ask for fewer criteria at once")
		}
		if err := inflight.FromContext(ctx).Grow(eventSize(event)); err != nil {
			cancel()
			return nil, err
		}
		answer.Results[criterion-1].Event = event
		if event.GetPosition().GetGlobalId() > answer.GetContextPosition().GetGlobalId() {
			answer.ContextPosition = event.GetPosition()
		}
	}
	if err := rows.Err(); err != nil {
		return nil, toStatus(ctx, s.boundaries.Check(in.GetBoundary(), err))
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetCriteria())
	return answer, nil
}
