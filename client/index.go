package client

import (
	"context"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// ValueType says how an index compares a field.
type ValueType int32

// The types of an index's fields, by their numbers in the protocol.
const (
	Text      ValueType = ValueType(wire.ValueType_TEXT)
	Numeric   ValueType = ValueType(wire.ValueType_NUMERIC)
	Boolean   ValueType = ValueType(wire.ValueType_BOOLEAN)
	Timestamp ValueType = ValueType(wire.ValueType_TIMESTAMPTZ)
)

// Index makes criteria fast that have a tag for each of its fields and fulfil its conditions.
type Index struct {
	Name   string
	Fields []IndexField
	// Conditions make the index a partial one: it holds the events that fulfil all of them or, with AnyCondition, one.
	Conditions   []IndexCondition
	AnyCondition bool
}

// IndexField is a field that an index is sorted by. The keys event_type and eventType mean the event's type.
type IndexField struct {
	Key  string
	Type ValueType
}

// IndexCondition restricts an index. The operator is one of = > < >= <=.
type IndexCondition struct{ Key, Operator, Value string }

// IndexState is an index as the server has it.
type IndexState struct {
	Index
	// Ready is false while the index is built: Phase and Percent say how far that is.
	Ready   bool
	Phase   string
	Percent int
	// Scans is how often it was used since CountedSince, and SizeBytes what it takes on disk.
	Scans, SizeBytes        int64
	CreatedAt, CountedSince time.Time
}

// IndexAdvice is a shape of criteria that no index serves, and the index that would.
type IndexAdvice struct {
	// Keys are those of the criteria.
	Keys []string
	// Count is how many queries had them since Since, on the node that answers.
	Count int64
	Since time.Time
	// Index would serve them: pass it to [Client.CreateIndex].
	Index Index
}

// CreateIndex creates an index and returns when it is ready, with warnings about probable mistakes. The same definition
// again is a success. A context that ends before leaves no index.
func (c *Client) CreateIndex(ctx context.Context, boundary string, index Index) (warnings []string, err error) {
	in := index.wire()
	in.Boundary = boundary
	var out wire.CreateIndexResponse
	err = c.call(ctx, eventStore+"CreateIndex", repeat, in, &out)
	return out.GetWarnings(), err
}

// DropIndex removes an index.
func (c *Client) DropIndex(ctx context.Context, boundary, name string) error {
	in := &wire.DropIndexRequest{Boundary: boundary, Name: name}
	return c.call(ctx, eventStore+"DropIndex", once, in, &wire.DropIndexResponse{})
}

// Indexes returns the indexes of a boundary, and what the node that answers would have needed.
func (c *Client) Indexes(ctx context.Context, boundary string) ([]IndexState, []IndexAdvice, error) {
	var out wire.ListIndexesResponse
	in := &wire.ListIndexesRequest{Boundary: boundary}
	if err := c.call(ctx, eventStore+"ListIndexes", repeat, in, &out); err != nil {
		return nil, nil, err
	}
	indexes := make([]IndexState, len(out.GetIndexes()))
	for i, definition := range out.GetIndexes() {
		indexes[i] = indexFrom(definition)
		if i < len(out.GetUsage()) {
			usage := out.GetUsage()[i]
			indexes[i].Scans, indexes[i].SizeBytes = usage.GetScans(), usage.GetSizeBytes()
			indexes[i].CreatedAt, indexes[i].CountedSince = usage.GetCreatedAt().AsTime(), usage.GetCountedSince().AsTime()
		}
	}
	advice := make([]IndexAdvice, len(out.GetAdvice()))
	for i, a := range out.GetAdvice() {
		create := a.GetCreate()
		advice[i] = IndexAdvice{
			Keys:  a.GetKeys(),
			Count: a.GetCount(),
			Since: a.GetSince().AsTime(),
			Index: indexFrom(&wire.IndexDefinition{
				Name: create.GetName(), Fields: create.GetFields(),
				Conditions: create.GetConditions(), ConditionCombinator: create.GetConditionCombinator(),
			}).Index,
		}
	}
	return indexes, advice, nil
}

// Index returns one index, without its usage.
func (c *Client) Index(ctx context.Context, boundary, name string) (IndexState, error) {
	var out wire.GetIndexResponse
	err := c.call(ctx, eventStore+"GetIndex", repeat, &wire.GetIndexRequest{Boundary: boundary, Name: name}, &out)
	return indexFrom(out.GetIndex()), err
}

func (i Index) wire() *wire.CreateIndexRequest {
	in := &wire.CreateIndexRequest{Name: i.Name}
	for _, f := range i.Fields {
		in.Fields = append(in.Fields, &wire.IndexField{JsonKey: f.Key, ValueType: wire.ValueType(f.Type)})
	}
	for _, condition := range i.Conditions {
		in.Conditions = append(in.Conditions,
			&wire.IndexCondition{Key: condition.Key, Operator: condition.Operator, Value: condition.Value})
	}
	if i.AnyCondition {
		in.ConditionCombinator = wire.ConditionCombinator_OR
	}
	return in
}

func indexFrom(d *wire.IndexDefinition) IndexState {
	index := IndexState{
		Index: Index{Name: d.GetName(), AnyCondition: d.GetConditionCombinator() == wire.ConditionCombinator_OR},
		Ready: d.GetState() == wire.IndexState_INDEX_STATE_READY,
		Phase: d.GetProgress().GetPhase(), Percent: int(d.GetProgress().GetPercent()),
	}
	for _, f := range d.GetFields() {
		index.Fields = append(index.Fields, IndexField{f.GetJsonKey(), ValueType(f.GetValueType())})
	}
	for _, condition := range d.GetConditions() {
		index.Conditions = append(index.Conditions,
			IndexCondition{condition.GetKey(), condition.GetOperator(), condition.GetValue()})
	}
	return index
}
