package service

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// ListIndexes lists a boundary's indexes by name, how much each is used, and the criteria that no index serves. Errors:
// INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, UNAVAILABLE.
func (s *EventStore) ListIndexes(
	ctx context.Context, in *orisunpb.ListIndexesRequest,
) (*orisunpb.ListIndexesResponse, error) {
	var v violations
	v.boundary(in.GetBoundary())
	if err := v.err(); err != nil {
		return nil, err
	}
	rows, err := s.listIndexes(ctx, in.GetBoundary())
	if err != nil {
		return nil, err
	}
	answer := &orisunpb.ListIndexesResponse{}
	taken := map[string]bool{}
	for _, row := range rows {
		answer.Indexes = append(answer.Indexes, indexDefinition(row))
		answer.Usage = append(answer.Usage, &orisunpb.IndexUsage{
			Name: row.Name, Scans: row.Scans, SizeBytes: row.SizeBytes, CreatedAt: timestamppb.New(row.CreatedAt),
			CountedSince: timestamppb.New(row.CountedSince),
		})
		taken[row.Name] = true
	}
	if answer.Advice, err = s.advice.list(ctx, in.GetBoundary(), taken); err != nil {
		return nil, toStatus(ctx, err)
	}
	return answer, nil
}

func (s *EventStore) listIndexes(ctx context.Context, boundary string) ([]db.OrisunListedIndex, error) {
	return reading(ctx, s, boundary, func(tx db.DBTX) ([]db.OrisunListedIndex, error) {
		return s.queries.ListIndexes(ctx, tx, boundary)
	})
}

func indexDefinition(row db.OrisunListedIndex) *orisunpb.IndexDefinition {
	index := &orisunpb.IndexDefinition{
		Name:                row.Name,
		ConditionCombinator: orisunpb.ConditionCombinator(orisunpb.ConditionCombinator_value[row.Combinator]),
		State:               orisunpb.IndexState(orisunpb.IndexState_value["INDEX_STATE_"+row.State]),
	}
	for i, key := range row.FieldKeys {
		index.Fields = append(index.Fields, &orisunpb.IndexField{
			JsonKey: key, ValueType: orisunpb.ValueType(orisunpb.ValueType_value[row.FieldTypes[i]]),
		})
	}
	for i, key := range row.ConditionKeys {
		index.Conditions = append(index.Conditions, &orisunpb.IndexCondition{
			Key: key, Operator: row.ConditionOperators[i], Value: row.ConditionValues[i],
		})
	}
	if index.GetState() == orisunpb.IndexState_INDEX_STATE_BUILDING {
		index.Progress = &orisunpb.IndexProgress{Phase: row.Phase, Percent: uint32(row.Percent)}
	}
	return index
}
