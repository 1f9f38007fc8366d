// Package memory serves the protocol from memory, for unit tests of programs that use the client.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/oexza/orisun/client/internal/wire"
)

// The limits that the server has, too.
const (
	maxText          = 256
	maxTagValue      = 4096
	maxTags          = 32
	maxCriteria      = 256
	maxEventsPerSave = 10_000
	maxCount         = 10_000
	defaultCount     = 1000
)

// Server holds boundaries.
type Server struct {
	mu         sync.Mutex
	boundaries map[string]*boundary
	created    map[string]*wire.BoundaryInfo
	indexes    map[[2]string]*wire.IndexDefinition // by boundary and name
	named      map[[2]string]*subscription         // by boundary and subscriber_name
}

type subscription struct{ end context.CancelCauseFunc }

// NewServer returns a server with boundaries.
func NewServer(names ...string) *Server {
	s := &Server{
		boundaries: map[string]*boundary{}, created: map[string]*wire.BoundaryInfo{},
		indexes: map[[2]string]*wire.IndexDefinition{}, named: map[[2]string]*subscription{},
	}
	for _, name := range names {
		s.create(&wire.CreateBoundaryRequest{
			Name: name, Placement: &wire.BoundaryPlacementInput{Backend: "postgres", Namespace: "public"},
		})
	}
	return s
}

// Register adds the services to a gRPC server.
func (s *Server) Register(on *grpc.Server) {
	ping := func(*wire.PingRequest) (*wire.PingResponse, error) { return &wire.PingResponse{}, nil }
	info := func(*wire.GetServerInfoRequest) (*wire.GetServerInfoResponse, error) {
		return &wire.GetServerInfoResponse{Version: "memory", NodeId: "memory"}, nil
	}
	on.RegisterService(&grpc.ServiceDesc{
		ServiceName: "orisun.EventStore", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("SaveEvents", s.saveEvents), unary("GetEvents", s.getEvents), unary("GetLatestByCriteria", s.getLatest),
			unary("Ping", ping), unary("GetServerInfo", info),
			unary("CreateIndex", s.createIndex), unary("DropIndex", s.dropIndex),
			unary("ListIndexes", s.listIndexes), unary("GetIndex", s.getIndex),
		},
		Streams: []grpc.StreamDesc{{StreamName: "CatchUpSubscribeToEvents", ServerStreams: true, Handler: s.subscribe}},
	}, s)
	on.RegisterService(&grpc.ServiceDesc{
		ServiceName: "orisun.Admin", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("CreateBoundary", s.createBoundary), unary("ListBoundaries", s.listBoundaries),
			unary("GetBoundary", s.getBoundary), unary("GetEventCount", s.getEventCount),
		},
	}, s)
}

func unary[In, Out any](name string, answer func(*In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(In)
			if err := decode(in); err != nil {
				return nil, err
			}
			return answer(in)
		},
	}
}

func (s *Server) find(name string) (*boundary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boundaries[name]; b != nil {
		return b, nil
	}
	return nil, status.Errorf(
		codes.NotFound, "boundary %q does not exist; clienttest.New takes the names of those that do", name)
}

func (s *Server) saveEvents(in *wire.SaveEventsRequest) (*wire.WriteResult, error) {
	var v violations
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	v.criteria("query.subset_query.criteria", in.GetQuery().GetSubsetQuery().GetCriteria())
	if n := len(in.GetEvents()); n < 1 || n > maxEventsPerSave {
		v.add("events", "has %d events, a save holds 1 to %d", n, maxEventsPerSave)
	}
	events, ids := make([]*stored, len(in.GetEvents())), map[string]bool{}
	for i, event := range in.GetEvents() {
		path := fmt.Sprintf("events[%d].", i)
		v.text(path+"event_id", event.GetEventId())
		v.text(path+"event_type", event.GetEventType())
		if ids[event.GetEventId()] {
			v.add(path+"event_id", "is %q, as that of an event before", event.GetEventId())
		}
		ids[event.GetEventId()] = true
		data, err := parseDocument(event.GetData())
		if err != nil {
			v.add(path+"data", "%v", err)
		}
		metadata, err := parseDocument(event.GetMetadata())
		if err != nil {
			v.add(path+"metadata", "%v", err)
		}
		events[i] = &stored{data: data, event: &wire.Event{
			EventId: event.GetEventId(), EventType: event.GetEventType(), Data: data.text, Metadata: metadata.text,
		}}
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	b, err := s.find(in.GetBoundary())
	if err != nil {
		return nil, err
	}
	switch outcome, at := b.save(in.GetQuery(), events); outcome {
	case contextChanged:
		return nil, b.conflict(in, at)
	case eventIDReused:
		return nil, detailed(codes.FailedPrecondition, "an event_id of this save is taken by another event: nothing is saved",
			&errdetails.ErrorInfo{Reason: "EVENT_ID_REUSED", Domain: "orisun", Metadata: map[string]string{
				"boundary":             in.GetBoundary(),
				"taken_transaction_id": number(at.GetTransactionId()), "taken_global_id": number(at.GetGlobalId()),
			}})
	default:
		return &wire.WriteResult{
			LogPosition: at, NewGlobalId: at.GetGlobalId(),
			LatestTransactionId: at.GetTransactionId(), LatestGlobalId: at.GetGlobalId(),
		}, nil
	}
}

func (b *boundary) conflict(in *wire.SaveEventsRequest, actual *wire.Position) error {
	expected := in.GetQuery().GetExpectedPosition()
	if expected == nil {
		expected = none()
	}
	details := map[string]string{
		"boundary":                in.GetBoundary(),
		"expected_transaction_id": number(expected.GetTransactionId()), "expected_global_id": number(expected.GetGlobalId()),
		"actual_transaction_id": number(actual.GetTransactionId()), "actual_global_id": number(actual.GetGlobalId()),
	}
	if actual.GetGlobalId() >= 0 {
		events, _ := b.since(actual.GetGlobalId())
		details["event_id"], details["event_type"] = events[0].event.GetEventId(), events[0].event.GetEventType()
	}
	return detailed(
		codes.AlreadyExists,
		fmt.Sprintf("OptimisticConcurrencyException (AlreadyExists): Expected %d, Actual %d: the context changed",
			max(0, expected.GetTransactionId()), max(0, actual.GetTransactionId())),
		&errdetails.ErrorInfo{Reason: "CONTEXT_CHANGED", Domain: "orisun", Metadata: details},
	)
}

func (s *Server) getEvents(in *wire.GetEventsRequest) (*wire.GetEventsResponse, error) {
	var v violations
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	if in.GetCount() > maxCount {
		v.add("count", "is %d, at most %d are allowed", in.GetCount(), maxCount)
	}
	if in.GetFromPosition() != nil && in.GetAfterPosition() != nil {
		v.add("after_position", "excludes from_position")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	b, err := s.find(in.GetBoundary())
	if err != nil {
		return nil, err
	}
	count := int(in.GetCount())
	if count == 0 {
		count = defaultCount
	}
	return &wire.GetEventsResponse{Events: b.page(in, count)}, nil
}

func (s *Server) getLatest(in *wire.GetLatestByCriteriaRequest) (*wire.GetLatestByCriteriaResponse, error) {
	var v violations
	v.criteria("criteria", in.GetCriteria())
	if len(in.GetCriteria()) == 0 {
		v.add("criteria", "is required")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	b, err := s.find(in.GetBoundary())
	if err != nil {
		return nil, err
	}
	return b.latest(in.GetCriteria()), nil
}

var errReplaced = detailed(
	codes.Aborted,
	"a later subscription with this subscriber_name on the same connection replaced this one",
	&errdetails.ErrorInfo{Reason: "SUBSCRIPTION_REPLACED", Domain: "orisun"},
)

func (s *Server) subscribe(_ any, stream grpc.ServerStream) error {
	var in wire.CatchUpSubscribeToEventStoreRequest
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	var v violations
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	if err := v.err(); err != nil {
		return err
	}
	b, err := s.find(in.GetBoundary())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	if in.GetSubscriberName() != "" {
		defer s.take([2]string{in.GetBoundary(), in.GetSubscriberName()}, end)()
	}
	events, _ := b.since(0)
	next := int64(len(events))
	if after := in.GetAfterPosition(); after != nil {
		next = 0
		for next < int64(len(events)) && !before(after, events[next].event.GetPosition()) {
			next++
		}
	}
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		events, changed := b.since(next)
		for _, event := range events {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if matchesQuery(event, in.GetQuery()) {
				if err := stream.SendMsg(event.event); err != nil {
					return err
				}
			}
			next++
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take ends the subscription that has a name, which the caller gets until it calls leave.
func (s *Server) take(name [2]string, end context.CancelCauseFunc) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if older := s.named[name]; older != nil {
		older.end(errReplaced)
	}
	own := &subscription{end}
	s.named[name] = own
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.named[name] == own {
			delete(s.named, name)
		}
	}
}

func (s *Server) create(in *wire.CreateBoundaryRequest) *wire.BoundaryInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.created[in.GetName()] == nil {
		s.boundaries[in.GetName()] = newBoundary()
		s.created[in.GetName()] = &wire.BoundaryInfo{
			Name: in.GetName(), Description: in.GetDescription(), Placement: in.GetPlacement(),
			Status: wire.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE,
		}
	}
	return s.created[in.GetName()]
}

func (s *Server) createBoundary(in *wire.CreateBoundaryRequest) (*wire.CreateBoundaryResponse, error) {
	var v violations
	v.text("name", in.GetName())
	if err := v.err(); err != nil {
		return nil, err
	}
	return &wire.CreateBoundaryResponse{Boundary: s.create(in)}, nil
}

func (s *Server) listBoundaries(*wire.ListBoundariesRequest) (*wire.ListBoundariesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out wire.ListBoundariesResponse
	for _, name := range slices.Sorted(maps.Keys(s.created)) {
		out.Boundaries = append(out.Boundaries, s.created[name])
	}
	return &out, nil
}

func (s *Server) getBoundary(in *wire.GetBoundaryRequest) (*wire.GetBoundaryResponse, error) {
	if _, err := s.find(in.GetName()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &wire.GetBoundaryResponse{Boundary: s.created[in.GetName()]}, nil
}

func (s *Server) getEventCount(in *wire.GetEventCountRequest) (*wire.GetEventCountResponse, error) {
	b, err := s.find(in.GetBoundary())
	if err != nil {
		return nil, err
	}
	events, _ := b.since(0)
	return &wire.GetEventCountResponse{Count: int64(len(events))}, nil
}

// Indexes are registered and have no effect: reading memory needs none.
func (s *Server) createIndex(in *wire.CreateIndexRequest) (*wire.CreateIndexResponse, error) {
	if _, err := s.find(in.GetBoundary()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexes[[2]string{in.GetBoundary(), in.GetName()}] = &wire.IndexDefinition{
		Name: in.GetName(), Fields: in.GetFields(), Conditions: in.GetConditions(),
		ConditionCombinator: in.GetConditionCombinator(),
		State:               wire.IndexState_INDEX_STATE_READY,
	}
	return &wire.CreateIndexResponse{}, nil
}

func (s *Server) dropIndex(in *wire.DropIndexRequest) (*wire.DropIndexResponse, error) {
	if _, err := s.getIndex(&wire.GetIndexRequest{Boundary: in.GetBoundary(), Name: in.GetName()}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.indexes, [2]string{in.GetBoundary(), in.GetName()})
	return &wire.DropIndexResponse{}, nil
}

func (s *Server) listIndexes(in *wire.ListIndexesRequest) (*wire.ListIndexesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out wire.ListIndexesResponse
	for key, index := range s.indexes {
		if key[0] == in.GetBoundary() {
			out.Indexes = append(out.Indexes, index)
		}
	}
	return &out, nil
}

func (s *Server) getIndex(in *wire.GetIndexRequest) (*wire.GetIndexResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	index := s.indexes[[2]string{in.GetBoundary(), in.GetName()}]
	if index == nil {
		return nil, status.Errorf(codes.NotFound, "index %q does not exist", in.GetName())
	}
	return &wire.GetIndexResponse{Index: index}, nil
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func detailed(code codes.Code, message string, details protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(details)
	if err != nil {
		return err
	}
	return s.Err()
}

// violations are the fields of a request that are wrong.
type violations []*errdetails.BadRequest_FieldViolation

func (v *violations) add(field, format string, args ...any) {
	*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: fmt.Sprintf(format, args...)})
}

func (v *violations) text(field, text string) {
	if n := len(text); n < 1 || n > maxText {
		v.add(field, "has %d bytes, 1 to %d are allowed", n, maxText)
	}
}

func (v *violations) criteria(field string, criteria []*wire.Criterion) {
	if len(criteria) > maxCriteria {
		v.add(field, "has %d criteria, at most %d are allowed", len(criteria), maxCriteria)
	}
	for i, criterion := range criteria {
		path := fmt.Sprintf("%s[%d].tags", field, i)
		if n := len(criterion.GetTags()); n > maxTags {
			v.add(path, "has %d tags, at most %d are allowed", n, maxTags)
		}
		for j, tag := range criterion.GetTags() {
			v.text(fmt.Sprintf("%s[%d].key", path, j), tag.GetKey())
			if n := len(tag.GetValue()); n > maxTagValue {
				v.add(fmt.Sprintf("%s[%d].value", path, j), "has %d bytes, at most %d are allowed", n, maxTagValue)
			}
		}
	}
}

func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	return detailed(codes.InvalidArgument, "the request is invalid", &errdetails.BadRequest{FieldViolations: v})
}
