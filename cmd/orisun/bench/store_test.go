package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
)

// peer is another server of the protocol, in memory. It knows no field that is ours alone, and takes a save only if the
// position that it expects is exactly that of its context's last event.
type peer struct {
	orisunpb.UnimplementedEventStoreServer
	t *testing.T

	// before, when set, is asked at each save: an error is the answer.
	before func(*orisunpb.SaveEventsRequest) error
	// deaf subscriptions never send anything.
	deaf bool
	// deafFor is how late a subscription begins to send.
	deafFor time.Duration
	// noIndex leaves CreateIndex unimplemented.
	noIndex bool

	mu          sync.Mutex
	events      []*orisunpb.Event
	contexts    map[field][]int // the events of each field but the payload, by their place
	came        chan struct{}   // closed when events come
	indexes     []*orisunpb.CreateIndexRequest
	conditional int
	passwords   int
	tokens      int
}

// servePeer starts p and returns a Config of a small run against it.
func servePeer(t *testing.T, p *peer) Config {
	t.Helper()
	p.t, p.contexts, p.came = t, map[field][]int{}, make(chan struct{})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(p.unary), grpc.StreamInterceptor(p.stream))
	orisunpb.RegisterEventStoreServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return Config{
		Dial: func(options ...grpc.DialOption) (*grpc.ClientConn, error) {
			return grpc.NewClient(listener.Addr().String(),
				append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		},
		Username: "admin", Password: "changeit", Auth: AuthToken, Connections: 1, Boundary: "b",
		Workloads: []string{"append-1"}, Clients: []int{4}, Duration: 100 * time.Millisecond, Repeat: 1,
		SeedEvents: 2500, Contexts: 50, Payload: 256, Seed: 1, Accounts: 10, Criteria: 4, Events: 1,
	}
}

// letIn takes the password or the token, and answers the token.
func (p *peer) letIn(ctx context.Context) (metadata.MD, error) {
	given, _ := metadata.FromIncomingContext(ctx)
	token, password := given.Get(tokenHeader), given.Get("authorization")
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(token) == 1 && token[0] == "the token" && len(password) == 0:
		p.tokens++
	case len(password) == 1 && password[0] == "Basic YWRtaW46Y2hhbmdlaXQ=" && len(token) == 0:
		p.passwords++
	default:
		return nil, status.Error(codes.Unauthenticated, "who are you?")
	}
	return metadata.Pairs(tokenHeader, "the token"), nil
}

func (p *peer) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	header, err := p.letIn(ctx)
	if err != nil {
		return nil, err
	}
	if fields := newerFields(request.(proto.Message).ProtoReflect()); len(fields) > 0 {
		p.t.Errorf("other servers of the protocol do not know %v", fields)
	}
	if err := grpc.SetHeader(ctx, header); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (p *peer) stream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler,
) error {
	if _, err := p.letIn(stream.Context()); err != nil {
		return err
	}
	return handle(service, stream)
}

// newerFields are the fields of a message that only servers of ours know: those from 100 up.
func newerFields(m protoreflect.Message) (names []protoreflect.FullName) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Number() >= 100 {
			names = append(names, field.FullName())
		}
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				names = append(names, newerFields(value.List().Get(i).Message())...)
			}
		default:
			names = append(names, newerFields(value.Message())...)
		}
		return true
	})
	return names
}

func (p *peer) Ping(context.Context, *orisunpb.PingRequest) (*orisunpb.PingResponse, error) {
	return &orisunpb.PingResponse{}, nil
}

func (p *peer) CreateIndex(_ context.Context, in *orisunpb.CreateIndexRequest) (*orisunpb.CreateIndexResponse, error) {
	if p.noIndex {
		return nil, status.Error(codes.Unimplemented, "no indexes here")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.indexes = append(p.indexes, in)
	return &orisunpb.CreateIndexResponse{}, nil
}

// fieldsOf are the fields of an event's data without its payload.
func fieldsOf(t *testing.T, data string) (fields []field) {
	t.Helper()
	var values map[string]string
	if err := json.Unmarshal([]byte(data), &values); err != nil {
		t.Errorf("data %s: %v", data, err)
	}
	for key, value := range values {
		if key != "payload" {
			fields = append(fields, field{key, value})
		}
	}
	return fields
}

// matching are the places of the events that match a criterion, in order. Criteria have one tag here.
func (p *peer) matching(criteria []*orisunpb.Criterion) (places []int) {
	for _, criterion := range criteria {
		tag := criterion.GetTags()[0]
		places = append(places, p.contexts[field{tag.GetKey(), tag.GetValue()}]...)
	}
	slices.Sort(places)
	return slices.Compact(places)
}

func (p *peer) GetLatestByCriteria(
	_ context.Context, in *orisunpb.GetLatestByCriteriaRequest,
) (*orisunpb.GetLatestByCriteriaResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := &orisunpb.GetLatestByCriteriaResponse{}
	for _, criterion := range in.GetCriteria() {
		result := &orisunpb.LatestCriterionResult{Criterion: criterion}
		if places := p.matching([]*orisunpb.Criterion{criterion}); len(places) > 0 {
			result.Event = p.events[places[len(places)-1]]
		}
		answer.Results = append(answer.Results, result)
	}
	return answer, nil
}

func (p *peer) SaveEvents(_ context.Context, in *orisunpb.SaveEventsRequest) (*orisunpb.WriteResult, error) {
	if p.before != nil {
		if err := p.before(in); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if criteria := in.GetQuery().GetSubsetQuery().GetCriteria(); len(criteria) > 0 {
		p.conditional++
		last := nothing()
		if places := p.matching(criteria); len(places) > 0 {
			last = p.events[places[len(places)-1]].GetPosition()
		}
		if !proto.Equal(last, in.GetQuery().GetExpectedPosition()) {
			return nil, status.Error(codes.AlreadyExists, fmt.Sprintf("the last position is %v", last))
		}
	}
	position := func(i int) *orisunpb.Position {
		return &orisunpb.Position{
			TransactionId: int64(len(p.events) - i + len(in.GetEvents())), GlobalId: int64(len(p.events)),
		}
	}
	for i, event := range in.GetEvents() {
		if len(event.GetData()) != 256 {
			p.t.Errorf("an event has %d bytes of data, want 256", len(event.GetData()))
		}
		at := position(i)
		for _, f := range fieldsOf(p.t, event.GetData()) {
			p.contexts[f] = append(p.contexts[f], len(p.events))
		}
		p.events = append(p.events, &orisunpb.Event{
			EventId: event.GetEventId(), EventType: event.GetEventType(), Data: event.GetData(), Position: at,
		})
	}
	close(p.came)
	p.came = make(chan struct{})
	return &orisunpb.WriteResult{LogPosition: p.events[len(p.events)-1].GetPosition()}, nil
}

func (p *peer) GetEvents(_ context.Context, in *orisunpb.GetEventsRequest) (*orisunpb.GetEventsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.events
	if from := in.GetFromPosition(); from != nil {
		at, _ := slices.BinarySearchFunc(found, from, func(e *orisunpb.Event, from *orisunpb.Position) int {
			return int(e.GetPosition().GetGlobalId() - from.GetGlobalId())
		})
		found = found[at:]
	}
	if criteria := in.GetQuery().GetCriteria(); len(criteria) > 0 {
		found = nil
		for _, place := range p.matching(criteria) {
			found = append(found, p.events[place])
		}
	}
	count := min(int(in.GetCount()), len(found))
	if in.GetDirection() == orisunpb.Direction_DESC {
		found = slices.Clone(found[len(found)-count:])
		slices.Reverse(found)
	}
	return &orisunpb.GetEventsResponse{Events: found[:count]}, nil
}

func (p *peer) CatchUpSubscribeToEvents(
	in *orisunpb.CatchUpSubscribeToEventStoreRequest, stream grpc.ServerStreamingServer[orisunpb.Event],
) error {
	if p.deaf {
		<-stream.Context().Done()
		return nil
	}
	wait(stream.Context(), time.Now().Add(p.deafFor))
	for next := int(in.GetAfterPosition().GetGlobalId()) + 1; ; {
		p.mu.Lock()
		events, came := p.events[next:], p.came
		p.mu.Unlock()
		for _, event := range events {
			if err := stream.Send(event); err != nil {
				return err
			}
		}
		next += len(events)
		select {
		case <-came:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// runAgainst runs a small Config, changed by change, against a peer.
func runAgainst(t *testing.T, p *peer, change func(*Config)) (Report, string) {
	t.Helper()
	config := servePeer(t, p)
	var progress strings.Builder
	config.Progress = &progress
	if change != nil {
		change(&config)
	}
	report, err := Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return report, progress.String()
}
