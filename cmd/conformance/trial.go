package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

type kit struct {
	conn     *grpc.ClientConn
	user     basic
	address  string
	store    orisunpb.EventStoreClient
	admin    orisunpb.AdminClient
	durable  orisunpb.SubscriptionsClient
	boundary string
}

type check struct {
	name string
	run  func(t *trial)
}

// trial is one run of a check. What differs from the rules is an error; a check goes on after one, except in must.
type trial struct {
	*kit
	ctx      context.Context
	arrivals chan arrival
	errors   []string

	mu      sync.Mutex
	missing []string // methods that the server answers with UNIMPLEMENTED
}

// stopped ends a check.
type stopped struct{}

// must ends the check after an error.
func (t *trial) must(what string, err error) {
	if err != nil {
		t.errorf("%s: %v", what, err)
		panic(stopped{})
	}
}

// put runs a check.
func (k *kit) put(ctx context.Context, section string, c check) result {
	t := &trial{kit: k, arrivals: make(chan arrival)}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, trialKey{}, t))
	defer cancel()
	t.ctx = ctx
	func() {
		defer func() {
			if r := recover(); r != nil && r != (stopped{}) {
				panic(r)
			}
		}()
		c.run(t)
	}()
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.missing)
	t.missing = slices.Compact(t.missing)
	for _, method := range t.missing {
		if isRequired(method) {
			t.errors = append(t.errors, "the server does not have "+method)
		}
	}
	switch {
	case len(t.missing) > 0 && !slices.ContainsFunc(t.missing, isRequired):
		return result{section, c.name, notSupported, t.missing}
	case len(t.errors) > 0:
		return result{section, c.name, failed, t.errors}
	}
	return result{section, c.name, passed, nil}
}

// isRequired says that every server of this protocol has a method. Durable subscriptions, and the calls of newer
// clients, are optional.
func isRequired(method string) bool {
	return !strings.HasPrefix(method, "/orisun.Subscriptions/") && method != "/orisun.Admin/SetUserBoundaryPermissions"
}

// unimplemented notes for each check the methods that the server does not have.
type unimplemented struct{}

type (
	trialKey  struct{}
	methodKey struct{}
)

// TagRPC stores the method's name for HandleRPC.
func (unimplemented) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, methodKey{}, info.FullMethodName)
}

// HandleRPC sees how calls and streams end.
func (unimplemented) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ended := event.(*stats.End)
	t, checked := ctx.Value(trialKey{}).(*trial)
	if !ended || !checked || status.Code(end.Error) != codes.Unimplemented {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missing = append(t.missing, ctx.Value(methodKey{}).(string))
}

// TagConn and HandleConn are not needed.
func (unimplemented) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (unimplemented) HandleConn(context.Context, stats.ConnStats) {}

func (t *trial) errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}

// connect returns another connection to the server, without the kit's credentials.
func (t *trial) connect(options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient(t.address, append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(unimplemented{}))...)
	t.must("a connection", err)
	return conn
}

// unique is a value that no other check uses.
func unique() string { return strings.ToLower(rand.Text()) }

func none() *orisunpb.Position { return &orisunpb.Position{TransactionId: -1, GlobalId: -1} }

func tagged(pairs ...string) *orisunpb.Criterion {
	criterion := &orisunpb.Criterion{}
	for pair := range slices.Chunk(pairs, 2) {
		criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: pair[0], Value: pair[1]})
	}
	return criterion
}

// event has a new id and the data {"v": v}.
func event(v string) *orisunpb.EventToSave {
	return &orisunpb.EventToSave{
		EventId:   unique(),
		EventType: "Conforms",
		Data:      fmt.Sprintf(`{"v": %q}`, v),
		Metadata:  `{}`,
	}
}

func events(v string, n int) (all []*orisunpb.EventToSave) {
	for range n {
		all = append(all, event(v))
	}
	return all
}

// condition is that of a save on criteria, in the field that all clients know.
func condition(expected *orisunpb.Position, criteria ...*orisunpb.Criterion) *orisunpb.SaveQuery {
	return &orisunpb.SaveQuery{ExpectedPosition: expected, SubsetQuery: &orisunpb.Query{Criteria: criteria}}
}

func (t *trial) trySave(query *orisunpb.SaveQuery, events ...*orisunpb.EventToSave) (*orisunpb.Position, error) {
	answer, err := t.store.SaveEvents(
		t.ctx,
		&orisunpb.SaveEventsRequest{Boundary: t.boundary, Query: query, Events: events},
	)
	return answer.GetLogPosition(), err
}

func (t *trial) save(query *orisunpb.SaveQuery, events ...*orisunpb.EventToSave) *orisunpb.Position {
	at, err := t.trySave(query, events...)
	if err != nil {
		t.errorf("a save fails: %v", err)
	}
	return at
}

// get reads one page of the events with {"v": v}.
func (t *trial) get(v string, change func(*orisunpb.GetEventsRequest)) []*orisunpb.Event {
	in := &orisunpb.GetEventsRequest{
		Boundary: t.boundary,
		Query:    &orisunpb.Query{Criteria: []*orisunpb.Criterion{tagged("v", v)}},
	}
	if change != nil {
		change(in)
	}
	answer, err := t.store.GetEvents(t.ctx, in)
	if err != nil {
		t.errorf("GetEvents fails: %v", err)
	}
	return answer.GetEvents()
}

func (t *trial) latest(criteria ...*orisunpb.Criterion) *orisunpb.GetLatestByCriteriaResponse {
	answer, err := t.store.GetLatestByCriteria(
		t.ctx,
		&orisunpb.GetLatestByCriteriaRequest{Boundary: t.boundary, Criteria: criteria},
	)
	if err != nil {
		t.errorf("GetLatestByCriteria fails: %v", err)
	}
	return answer
}

func idsOf(events []*orisunpb.Event) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.GetEventId())
	}
	return ids
}

func savedIDs(events []*orisunpb.EventToSave) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.GetEventId())
	}
	return ids
}

func (t *trial) wantIDs(what string, got, want []string) {
	if !slices.Equal(got, want) {
		t.errorf("%s: events %v, want %v", what, got, want)
	}
}

func (t *trial) wantPosition(what string, got, want *orisunpb.Position) {
	if !proto.Equal(got, want) {
		t.errorf(
			"%s is {%d,%d}, want {%d,%d}",
			what,
			got.GetTransactionId(),
			got.GetGlobalId(),
			want.GetTransactionId(),
			want.GetGlobalId(),
		)
	}
}

func (t *trial) wantCode(what string, err error, want codes.Code) {
	if status.Code(err) != want {
		t.errorf("%s: %v (%v), want %v", what, status.Code(err), err, want)
	}
}

func (t *trial) wantReason(what string, err error, code codes.Code, reason string) map[string]string {
	t.wantCode(what, err, code)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason {
			return info.GetMetadata()
		}
	}
	t.errorf("%s: no ErrorInfo with reason %s", what, reason)
	return nil
}

// wantField wants INVALID_ARGUMENT that names a field.
func (t *trial) wantField(what string, err error, field string) {
	t.wantCode(what, err, codes.InvalidArgument)
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok &&
			slices.ContainsFunc(
				bad.GetFieldViolations(),
				func(v *errdetails.BadRequest_FieldViolation) bool { return v.GetField() == field },
			) {
			return
		}
	}
	t.errorf("%s: no BadRequest names the field %s", what, field)
}

// follow returns the first n events of a subscription.
func (t *trial) follow(n int, in *orisunpb.CatchUpSubscribeToEventStoreRequest, begun func()) (got []*orisunpb.Event) {
	in.Boundary = t.boundary
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	stream, err := t.store.CatchUpSubscribeToEvents(ctx, in)
	if err != nil {
		t.errorf("a subscription fails: %v", err)
		return nil
	}
	if begun != nil {
		if _, err := stream.Header(); err != nil {
			t.errorf("a subscription sends no header: %v", err)
		}
		begun()
	}
	for len(got) < n {
		e, err := stream.Recv()
		if err != nil {
			t.errorf("a subscription ends after %d of %d events: %v", len(got), n, err)
			return got
		}
		got = append(got, e)
	}
	return got
}
