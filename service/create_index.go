package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/nearest"
)

// CreateIndex builds an index and answers when it is ready, which takes as long as reading the boundary does; saves go
// on meanwhile. A call that is cancelled, or fails, leaves neither index nor definition. A build of another index of
// the boundary, by any node, is waited for. It is idempotent: a retry with the same definition succeeds.
//
// Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary, ALREADY_EXISTS for a name that has
// another definition, UNAVAILABLE when PostgreSQL is unavailable or the server drains.
func (s *EventStore) CreateIndex(
	ctx context.Context, in *orisunpb.CreateIndexRequest,
) (*orisunpb.CreateIndexResponse, error) {
	if err := checkIndex(in); err != nil {
		return nil, err
	}
	params := db.CreateIndexParams{
		Boundary: in.GetBoundary(), Name: in.GetName(), Combinator: in.GetConditionCombinator().String(),
		// Empty rather than nil, which pgx sends as NULL.
		ConditionKeys: []string{}, ConditionOperators: []string{}, ConditionValues: []string{},
	}
	for _, field := range in.GetFields() {
		params.FieldKeys = append(params.FieldKeys, field.GetJsonKey())
		params.FieldTypes = append(params.FieldTypes, field.GetValueType().String())
	}
	for _, condition := range in.GetConditions() {
		params.ConditionKeys = append(params.ConditionKeys, condition.GetKey())
		params.ConditionOperators = append(params.ConditionOperators, condition.GetOperator())
		params.ConditionValues = append(params.ConditionValues, condition.GetValue())
	}
	exists := false
	err := s.changeIndexes(ctx, in.GetBoundary(), func(ctx context.Context, tx db.DBTX) ([]string, error) {
		statements, err := s.queries.CreateIndex(ctx, tx, params)
		exists = err == nil && len(statements) == 0
		return statements, err
	})
	if err != nil {
		return nil, err
	}
	if !exists {
		s.logChange(ctx, "index created", "boundary", in.GetBoundary(), "index", in.GetName(), "fields", params.FieldKeys)
	}
	return &orisunpb.CreateIndexResponse{Warnings: s.unknownKeys(ctx, in)}, nil
}

// unknownKeys warns of the keys of an index that none of the latest events has: they may be misspelt.
func (s *EventStore) unknownKeys(ctx context.Context, in *orisunpb.CreateIndexRequest) (warnings []string) {
	known, err := s.queries.FindKeys(ctx, s.config.Read, db.FindKeysParams{
		Boundary: in.GetBoundary(), Count: sampledEvents,
	})
	if err != nil {
		s.config.Log.Warn("whether events have the keys of a new index is not known", "boundary", in.GetBoundary(),
			"index", in.GetName(), "error", err)
		return nil
	}
	if len(known) == 0 { // there are no events yet
		return nil
	}
	known = append(known, eventTypeKey)
	checked := map[string]bool{}
	check := func(key string) {
		if key = typeKey(key); checked[key] || slices.Contains(known, key) {
			return
		}
		checked[key] = true
		warning := fmt.Sprintf("none of the latest %d events of boundary %s has the key %q",
			sampledEvents, in.GetBoundary(), key)
		if near, found := nearest.Name(key, known); found {
			warning += fmt.Sprintf("; did you mean %q?", near)
		}
		warnings = append(warnings, warning)
		s.config.Log.Warn("an index has a key that none of the latest events has", "boundary", in.GetBoundary(),
			"index", in.GetName(), "key", key)
	}
	for _, field := range in.GetFields() {
		check(field.GetJsonKey())
	}
	for _, condition := range in.GetConditions() {
		check(condition.GetKey())
	}
	return warnings
}

func checkIndex(in *orisunpb.CreateIndexRequest) error {
	var v violations
	v.boundary(in.GetBoundary())
	v.indexName(in.GetBoundary(), in.GetName())
	size := 0
	if n := len(in.GetFields()); n < 1 || n > maxIndexFields {
		v.add("fields", "has %d fields, an index has 1 to %d", n, maxIndexFields)
	} else {
		size += v.indexFields(in.GetFields())
	}
	if n := len(in.GetConditions()); n > maxIndexConditions {
		v.add("conditions", "has %d conditions, at most %d are allowed", n, maxIndexConditions)
	} else {
		size += v.indexConditions(in.GetConditions())
	}
	if size > maxIndexBytes {
		v.add("fields", "has, with conditions, %d bytes of keys and values, at most %d are allowed together", size,
			maxIndexBytes)
	}
	if _, known := orisunpb.ConditionCombinator_name[int32(in.GetConditionCombinator())]; !known {
		v.add("condition_combinator", "is %d, neither AND (0) nor OR (1)", in.GetConditionCombinator())
	}
	return v.err()
}

// indexName limits a name so that PostgreSQL's name of the index, which contains it, is not too long.
func (v *violations) indexName(boundary, name string) {
	v.identifier("name", name, maxIdentifierBytes-len(boundary)-len("__idx"),
		fmt.Sprintf("PostgreSQL's name of the index, %s_{name}_idx,", boundary))
}

func isIdentifier(name string) bool {
	for i, r := range []byte(name) {
		letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return name != ""
}

// indexFields checks fields and returns the bytes of their keys.
func (v *violations) indexFields(fields []*orisunpb.IndexField) (size int) {
	first := map[string]int{}
	for i, field := range fields {
		path := func(name string) string { return fmt.Sprintf("fields[%d].%s", i, name) }
		key := typeKey(field.GetJsonKey())
		v.text(path("json_key"), key, 1, maxNameBytes)
		v.trimmed(path("json_key"), key)
		size += len(key)
		if j, twice := first[key]; twice && key != "" {
			v.add(path("json_key"), "is %q, as that of fields[%d]", field.GetJsonKey(), j)
		}
		first[key] = i
		if _, known := orisunpb.ValueType_name[int32(field.GetValueType())]; !known {
			v.add(path("value_type"), "is %d, none of TEXT (0), NUMERIC (1), BOOLEAN (2) and TIMESTAMPTZ (3)",
				field.GetValueType())
		} else if key == eventTypeKey && field.GetValueType() != orisunpb.ValueType_TEXT {
			v.add(path("value_type"), "is %v, but the event's type is a TEXT", field.GetValueType())
		}
	}
	return size
}

// indexConditions checks conditions and returns the bytes of their keys and values.
func (v *violations) indexConditions(conditions []*orisunpb.IndexCondition) (size int) {
	for i, condition := range conditions {
		path := func(name string) string { return fmt.Sprintf("conditions[%d].%s", i, name) }
		v.text(path("key"), condition.GetKey(), 1, maxNameBytes)
		v.text(path("value"), condition.GetValue(), 0, maxConditionBytes)
		v.trimmed(path("key"), condition.GetKey())
		v.trimmed(path("value"), condition.GetValue())
		size += len(condition.GetKey()) + len(condition.GetValue())
		switch condition.GetOperator() {
		case "=", ">", "<", ">=", "<=":
		default:
			v.add(path("operator"), "is %q, none of = > < >= <=", condition.GetOperator())
		}
	}
	return size
}

// eventTypeKey is the key of the event's type, as is eventType.
const eventTypeKey = "event_type"

// typeKey maps the two names of the event's type to one.
func typeKey(key string) string {
	if key == "eventType" {
		return eventTypeKey
	}
	return key
}
