package service

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// The outcomes of a boundary's save_requests; orisun.save_result describes each.
const (
	outcomeSaved          = "saved"
	outcomeRepeated       = "repeated"
	outcomeContextChanged = "context_changed"
	outcomeEventIDReused  = "event_id_reused"
)

// SaveEvents appends a save if its context has not changed. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an
// unknown boundary, ALREADY_EXISTS (CONTEXT_CHANGED), FAILED_PRECONDITION (EVENT_ID_REUSED), RESOURCE_EXHAUSTED with
// RetryInfo when too many saves wait, UNAVAILABLE. While PostgreSQL is unavailable, the save waits as long as its
// caller does.
func (s *EventStore) SaveEvents(ctx context.Context, in *orisunpb.SaveEventsRequest) (*orisunpb.WriteResult, error) {
	fillEmptyDocuments(in.GetEvents())
	printed, err := s.checkSave(in)
	if err != nil {
		return nil, err
	}
	result, err := s.save(ctx, checkedSave{in, printed})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	return s.writeSaveResult(in, result)
}

// fillEmptyDocuments replaces empty or null data and metadata by {}: some clients send these for none.
func fillEmptyDocuments(events []*orisunpb.EventToSave) {
	for _, event := range events {
		for _, document := range []*string{&event.Data, &event.Metadata} {
			if text := strings.Trim(*document, jsonSpace); text == "" || text == "null" {
				*document = "{}"
			}
		}
	}
}

// checkedSave is a save whose request passed all checks.
type checkedSave struct {
	request *orisunpb.SaveEventsRequest
	printed int // the bytes of its events as PostgreSQL prints them
}

// checkSave checks a save and returns how many bytes its events have as PostgreSQL prints them.
func (s *EventStore) checkSave(in *orisunpb.SaveEventsRequest) (printed int, err error) {
	var v violations
	v.boundary(in.GetBoundary())
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	v.criteria("query.subset_query.criteria", in.GetQuery().GetSubsetQuery().GetCriteria())
	if n := len(contextOf(in)); len(v) == 0 && n > maxCriteria {
		v.add("query", "has %d criteria in criteria and subset_query together, at most %d are allowed", n, maxCriteria)
	}
	switch n := len(in.GetEvents()); {
	case n == 0:
		v.add("events", "is required: a save holds at least one event")
	case n > maxEventsPerSave:
		v.add("events", "has %d events, at most %d are allowed in a save", n, maxEventsPerSave)
	default:
		printed = s.checkEvents(&v, in.GetBoundary(), in.GetEvents())
	}
	// A number takes a few bytes in a request and up to 131,072 where PostgreSQL prints it.
	if most := s.config.MaxSaveBytes; most > 0 && printed > most {
		v.add("events", "have %d bytes as PostgreSQL prints them, with numbers in full; at most %d are allowed in a save "+
			"(ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE)", printed, most)
	}
	return printed, v.err()
}

func (s *EventStore) checkEvents(v *violations, boundary string, events []*orisunpb.EventToSave) (printed int) {
	first := map[string]int{}
	for i, event := range events {
		path := func(field string) string { return fmt.Sprintf("events[%d].%s", i, field) }
		if !fits(event.GetEventId(), 1, maxNameBytes) || !fits(event.GetEventType(), 1, maxNameBytes) {
			v.text(path("event_id"), event.GetEventId(), 1, maxNameBytes)
			v.text(path("event_type"), event.GetEventType(), 1, maxNameBytes)
		}
		if len(events) > 1 {
			if j, twice := first[event.GetEventId()]; twice && event.GetEventId() != "" {
				v.add(path("event_id"), "is %q, as that of events[%d]: an id is unique in its boundary", event.GetEventId(), j)
			}
			first[event.GetEventId()] = i
		}

		data, err := checkDocument(event.GetData())
		if err != nil {
			v.add(path("data"), "%v", err)
		}
		metadata, err := checkDocument(event.GetMetadata())
		if err != nil {
			v.add(path("metadata"), "%v", err)
		}
		if metadata > maxMetadataBytes {
			v.add(path("metadata"), "has %d bytes as PostgreSQL prints it, at most %d are allowed: it is published as a header",
				metadata, maxMetadataBytes)
		}
		if size := s.config.MessageSize(boundary, event.GetEventId(), event.GetEventType(), data,
			metadata); size > s.config.MaxMessageBytes {
			v.add(path("data"), "makes the event %d bytes when it is published, with headers and numbers in full; at most %d "+
				"are allowed (ORISUN_NATS_MAX_PAYLOAD)", size, s.config.MaxMessageBytes)
		}
		printed += data + metadata
	}
	return printed
}

// wholeBoundary is one criterion without tags: it matches every event.
var wholeBoundary = []*orisunpb.Criterion{{}}

// contextOf is the criteria of a request's context: the wire has two places for them. A query without criteria matches
// every event.
func contextOf(in *orisunpb.SaveEventsRequest) []*orisunpb.Criterion {
	criteria, subset := in.GetQuery().GetCriteria(), in.GetQuery().GetSubsetQuery()
	switch {
	case subset == nil:
		return criteria
	case len(subset.GetCriteria()) == 0:
		return wholeBoundary
	case len(criteria) == 0:
		return subset.GetCriteria()
	default:
		return slices.Concat(criteria, subset.GetCriteria())
	}
}

// expectedPosition is the expected position of a request; if it has none, the position of no event.
func expectedPosition(in *orisunpb.SaveEventsRequest) *orisunpb.Position {
	if expected := in.GetQuery().GetExpectedPosition(); expected != nil {
		return expected
	}
	return &orisunpb.Position{TransactionId: -1, GlobalId: -1}
}

func (s *EventStore) writeSaveResult(
	in *orisunpb.SaveEventsRequest, result db.OrisunSaveResult,
) (*orisunpb.WriteResult, error) {
	position := &orisunpb.Position{TransactionId: result.TransactionID, GlobalId: result.GlobalID}
	switch result.Outcome {
	case outcomeSaved, outcomeRepeated:
		return &orisunpb.WriteResult{
			LogPosition:         position,
			NewGlobalId:         result.GlobalID,
			LatestTransactionId: result.TransactionID,
			LatestGlobalId:      result.GlobalID,
		}, nil
	case outcomeContextChanged:
		s.conflicts.note(in.GetBoundary(), contextOf(in))
		return nil, contextChanged(in, position, result)
	case outcomeEventIDReused:
		return nil, withDetails(codes.FailedPrecondition,
			fmt.Sprintf("an event_id of this save is taken by another event, at or before position {%d,%d}: nothing is saved; "+
				"give a new save new ids", position.GetTransactionId(), position.GetGlobalId()),
			&errdetails.ErrorInfo{Reason: reasonEventIDReused, Domain: domain, Metadata: map[string]string{
				"boundary":             in.GetBoundary(),
				"taken_transaction_id": strconv.FormatInt(position.GetTransactionId(), 10),
				"taken_global_id":      strconv.FormatInt(position.GetGlobalId(), 10),
			}})
	default:
		return nil, internal(fmt.Errorf("save_requests returned the outcome %q", result.Outcome))
	}
}

func contextChanged(in *orisunpb.SaveEventsRequest, actual *orisunpb.Position, result db.OrisunSaveResult) error {
	expected := expectedPosition(in)
	reason := fmt.Sprintf("an event that matches lies at position {%d,%d}, after the expected {%d,%d}",
		actual.GetTransactionId(), actual.GetGlobalId(), expected.GetTransactionId(), expected.GetGlobalId())
	if actual.GetGlobalId() < 0 {
		reason = fmt.Sprintf("the expected position {%d,%d} is that of no stored event",
			expected.GetTransactionId(), expected.GetGlobalId())
	}
	// Existing clients recognise a conflict by this prefix, and parse the two numbers.
	message := fmt.Sprintf("OptimisticConcurrencyException (AlreadyExists): Expected %d, Actual %d: the context "+
		"changed: %s; read the context again and decide again",
		max(0, expected.GetTransactionId()), max(0, actual.GetTransactionId()), reason)
	details := &errdetails.ErrorInfo{Reason: reasonContextChanged, Domain: domain, Metadata: map[string]string{
		"boundary":                in.GetBoundary(),
		"expected_transaction_id": strconv.FormatInt(expected.GetTransactionId(), 10),
		"expected_global_id":      strconv.FormatInt(expected.GetGlobalId(), 10),
		"actual_transaction_id":   strconv.FormatInt(actual.GetTransactionId(), 10),
		"actual_global_id":        strconv.FormatInt(actual.GetGlobalId(), 10),
	}}
	if result.EventID != nil && result.EventType != nil {
		details.Metadata["event_id"], details.Metadata["event_type"] = *result.EventID, *result.EventType
	}
	return withDetails(codes.AlreadyExists, message, details)
}
