package service_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// node is a server of its own over the database; log, where it is not nil, is its log.
func node(
	t *testing.T, pool *pgxpool.Pool, serving context.Context, log *lockedBuffer, //nolint:revive // not of this call
) *service.EventStore {
	t.Helper()
	config := service.Config{
		Write: pool, Read: pool, MaxPageBytes: maxPageBytes, MaxMessageBytes: maxEventBytes, Serving: serving,
		MessageSize: func(_, _, _ string, data, metadata int) int { return data + metadata },
	}
	if log != nil {
		config.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	store := service.NewEventStore(config)
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return store
}

type lockedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) lines(with string) (n int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, with) {
			n++
		}
	}
	return n
}

func bank(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, boundary)
	return pool
}

func textIndex(name string, keys ...string) *orisunpb.CreateIndexRequest {
	request := &orisunpb.CreateIndexRequest{Boundary: boundary, Name: name}
	for _, key := range keys {
		request.Fields = append(request.Fields, &orisunpb.IndexField{JsonKey: key})
	}
	return request
}

func TestIndexesAreMadeListedAndDroppedByBothServices(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	server := grpc.NewServer()
	orisunpb.RegisterEventStoreServer(server, store)
	orisunpb.RegisterAdminServer(server, service.NewAdmin(store, "orisun_admin", nil))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		err := conn.Close()
		server.Stop()
		if err := errors.Join(err, <-served); err != nil {
			t.Error(err)
		}
	}()
	events, admin := orisunpb.NewEventStoreClient(conn), orisunpb.NewAdminClient(conn)

	partial := &orisunpb.CreateIndexRequest{
		Boundary: boundary, Name: "placed_amount",
		Fields: []*orisunpb.IndexField{
			{JsonKey: "amount", ValueType: orisunpb.ValueType_NUMERIC}, {JsonKey: "kind"},
		},
		Conditions: []*orisunpb.IndexCondition{
			{Key: "eventType", Operator: "=", Value: "OrderPlaced"}, {Key: "amount", Operator: ">=", Value: "10"},
		},
		ConditionCombinator: orisunpb.ConditionCombinator_OR,
	}
	for range 2 {
		if _, err := admin.CreateIndex(t.Context(), partial); err != nil {
			t.Fatal(err)
		}
		if _, err := events.CreateIndex(t.Context(), textIndex("user", "user_id")); err != nil {
			t.Fatal(err)
		}
	}
	list, err := events.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.GetIndexes()) != 2 || len(list.GetUsage()) != 2 || list.GetUsage()[1].GetName() != "user" ||
		list.GetUsage()[1].GetSizeBytes() == 0 {
		t.Fatalf("listed: %v", list)
	}
	got := list.GetIndexes()[0]
	want := `name:"placed_amount" fields:{json_key:"amount" value_type:NUMERIC} fields:{json_key:"kind"} ` +
		`conditions:{key:"event_type" operator:"=" value:"OrderPlaced"} ` +
		`conditions:{key:"amount" operator:">=" value:"10"} condition_combinator:OR state:INDEX_STATE_READY`
	if text := strings.Join(strings.Fields(got.String()), " "); text != want {
		t.Errorf("listed:\n%s\nwant\n%s", text, want)
	}
	one, err := events.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: "placed_amount"})
	if err != nil || one.GetIndex().String() != got.String() {
		t.Errorf("got %v, %v", one, err)
	}
	for _, drop := range []func(context.Context, *orisunpb.DropIndexRequest,
		...grpc.CallOption) (*orisunpb.DropIndexResponse, error){admin.DropIndex, events.DropIndex} {
		name := map[bool]string{true: "user", false: "placed_amount"}[len(list.GetIndexes()) == 2]
		if _, err := drop(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: name}); err != nil {
			t.Fatal(err)
		}
		list.Indexes = list.GetIndexes()[:1]
	}
	wantNothingLeft(t, pool)
}

func TestErrorsOfBadIndexesNameWhatIsWrong(t *testing.T) {
	store := node(t, bank(t), nil, nil)
	text := func(n int) string { return strings.Repeat("x", n) }
	with := func(change func(*orisunpb.CreateIndexRequest)) *orisunpb.CreateIndexRequest {
		request := textIndex("name", "key")
		change(request)
		return request
	}
	conditions := func(n int, c *orisunpb.IndexCondition) []*orisunpb.IndexCondition {
		return slices.Repeat([]*orisunpb.IndexCondition{c}, n)
	}
	for name, c := range map[string]struct {
		request *orisunpb.CreateIndexRequest
		code    codes.Code
		field   string
	}{
		"no boundary": {
			with(func(r *orisunpb.CreateIndexRequest) { r.Boundary = "" }), codes.InvalidArgument,
			"boundary",
		},
		"unknown boundary":   {with(func(r *orisunpb.CreateIndexRequest) { r.Boundary = "nowhere" }), codes.NotFound, ""},
		"no name":            {textIndex("", "k"), codes.InvalidArgument, "name"},
		"a name with quotes": {textIndex(`a"b`, "k"), codes.InvalidArgument, "name"},
		"a name in Cyrillic": {textIndex("имя", "k"), codes.InvalidArgument, "name"},
		"a long name":        {textIndex(text(63-len(boundary)-len("__idx")+1), "k"), codes.InvalidArgument, "name"},
		"no field":           {textIndex("n"), codes.InvalidArgument, "fields"},
		"six fields":         {textIndex("n", "1", "2", "3", "4", "5", "6"), codes.InvalidArgument, "fields"},
		"an empty key":       {textIndex("n", "a", ""), codes.InvalidArgument, "fields[1].json_key"},
		"a long key":         {textIndex("n", text(257)), codes.InvalidArgument, "fields[0].json_key"},
		"a key with NUL":     {textIndex("n", "a\x00"), codes.InvalidArgument, "fields[0].json_key"},
		"a field twice":      {textIndex("n", "event_type", "eventType"), codes.InvalidArgument, "fields[1].json_key"},
		"an unknown type": {
			with(func(r *orisunpb.CreateIndexRequest) { r.Fields[0].ValueType = 7 }),
			codes.InvalidArgument, "fields[0].value_type",
		},
		"a numeric type": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Fields[0] = &orisunpb.IndexField{JsonKey: "eventType", ValueType: orisunpb.ValueType_NUMERIC}
		}), codes.InvalidArgument, "fields[0].value_type"},
		"nine conditions": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(9, &orisunpb.IndexCondition{Key: "k", Operator: "="})
		}), codes.InvalidArgument, "conditions"},
		"no operator": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(1, &orisunpb.IndexCondition{Key: "k"})
		}), codes.InvalidArgument, "conditions[0].operator"},
		"another operator": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(1, &orisunpb.IndexCondition{Key: "k", Operator: "LIKE"})
		}), codes.InvalidArgument, "conditions[0].operator"},
		"no key": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(1, &orisunpb.IndexCondition{Operator: "="})
		}), codes.InvalidArgument, "conditions[0].key"},
		"a long value": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(1, &orisunpb.IndexCondition{Key: "k", Operator: "=", Value: text(257)})
		}), codes.InvalidArgument, "conditions[0].value"},
		"all too much": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(8, &orisunpb.IndexCondition{Key: text(200), Operator: "=", Value: text(200)})
		}), codes.InvalidArgument, "fields"},
		"another combinator": {
			with(func(r *orisunpb.CreateIndexRequest) { r.ConditionCombinator = 2 }),
			codes.InvalidArgument, "condition_combinator",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.CreateIndex(t.Context(), c.request)
			wantViolation(t, err, c.code, c.field)
		})
	}
	if _, err := store.CreateIndex(t.Context(), textIndex("name", "key")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.CreateIndex(t.Context(), textIndex("name", "other")); status.Code(err) != codes.AlreadyExists {
		t.Errorf("another definition: %v", err)
	}
	_, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: "other"})
	wantViolation(t, err, codes.NotFound, "")
	_, err = store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary})
	wantViolation(t, err, codes.InvalidArgument, "name")
	_, err = store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: "other"})
	wantViolation(t, err, codes.NotFound, "")
	_, err = store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: "nowhere", Name: "other"})
	wantViolation(t, err, codes.NotFound, "")
	_, err = store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: "nowhere"})
	wantViolation(t, err, codes.NotFound, "")
}
