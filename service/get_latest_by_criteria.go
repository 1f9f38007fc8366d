package service

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// GetLatestByCriteria returns the latest event of each criterion, all of one snapshot, and the expected position of a
// save that is based on them. Errors: as GetEvents.
func (s *EventStore) GetLatestByCriteria(
	ctx context.Context, in *orisunpb.GetLatestByCriteriaRequest,
) (*orisunpb.GetLatestByCriteriaResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	if len(in.GetCriteria()) == 0 {
		v.add("criteria", "is required: at least one criterion")
	}
	v.criteria("criteria", in.GetCriteria())
	if err := v.err(); err != nil {
		return nil, err
	}
	criteria := boundary.Criteria(in.GetCriteria())
	read, err := s.readGrouped(ctx, in.GetCriteria(), smallRead{boundary: in.GetBoundary(), criteria: criteria})
	latest := read.latest
	if errors.Is(err, errReadAlone) {
		latest, err = s.readLatest(ctx, in.GetBoundary(), criteria)
	}
	if err != nil {
		return nil, err
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetCriteria())
	answer := &orisunpb.GetLatestByCriteriaResponse{ContextPosition: &orisunpb.Position{TransactionId: -1, GlobalId: -1}}
	for i, event := range latest {
		answer.Results = append(answer.Results, &orisunpb.LatestCriterionResult{Criterion: in.GetCriteria()[i], Event: event})
		if event != nil && event.GetPosition().GetGlobalId() > answer.GetContextPosition().GetGlobalId() {
			answer.ContextPosition = event.GetPosition()
		}
	}
	return answer, nil
}

// readLatest reads the latest event of each criterion. Its error is a gRPC status.
func (s *EventStore) readLatest(ctx context.Context, name string, criteria []string) ([]*orisunpb.Event, error) {
	return reading(ctx, s, name, func(tx db.DBTX) ([]*orisunpb.Event, error) {
		own, err := s.boundaries.On(ctx, tx, name)
		if err != nil {
			return nil, err
		}
		rows, err := own.Query(ctx, db.ReadFirstOfEach, criteria, true, 1)
		if err != nil {
			return nil, s.boundaries.Check(name, err)
		}
		latest, err := scanLatest(ctx, rows, len(criteria), s.config.MaxPageBytes)
		return latest, s.boundaries.Check(name, err)
	})
}

// scanLatest reads rows of events with the number of their criterion, and closes them. Together they have at most limit
// bytes.
func scanLatest(ctx context.Context, rows pgx.Rows, criteria, limit int) ([]*orisunpb.Event, error) {
	defer rows.Close()
	latest := make([]*orisunpb.Event, criteria)
	var criterion int32
	for size := 0; rows.Next(); {
		event, err := scanEvent(rows, &criterion)
		if err != nil {
			return nil, err
		}
		if size += eventSize(event); size > limit {
			return nil, pageTooLarge(limit, "ask for fewer criteria at once")
		}
		if err := inflight.FromContext(ctx).Grow(eventSize(event)); err != nil {
			return nil, err
		}
		latest[criterion-1] = event
	}
	return latest, rows.Err()
}
