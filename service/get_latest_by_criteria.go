package service

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
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
	rows, shape, numbered, err := s.queryLatest(query, in)
	if err != nil {
		return nil, toStatus(ctx, s.forgetPage(shape, err))
	}
	defer rows.Close()
	criterion, more := 1, []any(nil)
	if numbered {
		more = []any{&criterion}
	}
	for size := 0; rows.Next(); {
		event, err := scanEvent(rows, more...)
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
		return nil, toStatus(ctx, s.forgetPage(shape, err))
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetCriteria())
	return answer, nil
}

// queryLatest asks for the latest events. numbered tells whether the last column is the number of an event's criterion; where it does not, there is but one:
// its latest event is a page of one, from the end. shape is what forgetPage takes.
func (s *EventStore) queryLatest(ctx context.Context, in *orisunpb.GetLatestByCriteriaRequest) (rows pgx.Rows, shape string, numbered bool, err error) {
	if len(in.GetCriteria()) == 1 {
		page := db.GetEventsParams{Boundary: in.GetBoundary(), Inclusive: true, Descending: true, Count: 1}
		page.TagCriteria, page.TagKeys, page.TagValues = tagArrays(in.GetCriteria())
		question, err := s.pageQuestion(ctx, page)
		if err == nil {
			rows, err = s.config.Read.Query(ctx, question.statement, question.arguments...)
		}
		return rows, question.shape, false, err
	}
	criteria, err := encodeCriteria(in.GetCriteria())
	if err != nil {
		return nil, "", true, err
	}
	rows, err = s.config.Read.Query(ctx, db.GetLatestByCriteria, in.GetBoundary(), criteria)
	return rows, "", true, err
}
