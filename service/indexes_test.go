package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

// node is a server of its own over the database; log, where it is not nil, is what it tells.
func node(t *testing.T, pool *pgxpool.Pool, serving context.Context, log *lockedBuffer) *service.EventStore { //nolint:revive // serving is no context of this call
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

// hold keeps a snapshot open, which every build of an index waits for; release lets builds go on.
func hold(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT txid_current()`); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return release
}

// until waits for a condition, as long as a build may take on a slow machine.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if condition() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// untilBuilding waits until PostgreSQL builds the index, and waits in its turn.
func untilBuilding(t *testing.T, store *service.EventStore, name string) {
	t.Helper()
	until(t, "the build waits", func() bool {
		answer, err := store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: name})
		if status.Code(err) == codes.NotFound {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		index := answer.GetIndex()
		return index.GetState() == orisunpb.IndexState_INDEX_STATE_BUILDING && strings.HasPrefix(index.GetProgress().GetPhase(), "waiting")
	})
}

// wantNothingLeft checks what a build that failed must not leave: an index, a definition, the right to build.
func wantNothingLeft(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var relations, definitions int
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'bank\_%\_idx'), (SELECT count(*) FROM orisun.boundary_index)`).
		Scan(&relations, &definitions); err != nil {
		t.Fatal(err)
	}
	if relations != 0 || definitions != 0 {
		t.Errorf("%d indexes and %d definitions are left", relations, definitions)
	}
	until(t, "the right to build is free", func() bool {
		var held bool
		if err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = orisun.index_class()::oid)`).Scan(&held); err != nil {
			t.Fatal(err)
		}
		return !held
	})
}

func TestIndexesAreMadeListedAndDroppedByBothServices(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	server := grpc.NewServer()
	orisunpb.RegisterEventStoreServer(server, store)
	orisunpb.RegisterAdminServer(server, service.NewAdmin(store))
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
		Fields:              []*orisunpb.IndexField{{JsonKey: "amount", ValueType: orisunpb.ValueType_NUMERIC}, {JsonKey: "kind"}},
		Conditions:          []*orisunpb.IndexCondition{{Key: "eventType", Operator: "=", Value: "OrderPlaced"}, {Key: "amount", Operator: ">=", Value: "10"}},
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
	if len(list.GetIndexes()) != 2 || len(list.GetUsage()) != 2 || list.GetUsage()[1].GetName() != "user" || list.GetUsage()[1].GetSizeBytes() == 0 {
		t.Fatalf("listed: %v", list)
	}
	got := list.GetIndexes()[0]
	want := `name:"placed_amount" fields:{json_key:"amount" value_type:NUMERIC} fields:{json_key:"kind"} conditions:{key:"event_type" operator:"=" value:"OrderPlaced"} ` +
		`conditions:{key:"amount" operator:">=" value:"10"} condition_combinator:OR state:INDEX_STATE_READY`
	if text := strings.Join(strings.Fields(got.String()), " "); text != want {
		t.Errorf("listed:\n%s\nwant\n%s", text, want)
	}
	one, err := events.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: "placed_amount"})
	if err != nil || one.GetIndex().String() != got.String() {
		t.Errorf("got %v, %v", one, err)
	}
	for _, drop := range []func(context.Context, *orisunpb.DropIndexRequest, ...grpc.CallOption) (*orisunpb.DropIndexResponse, error){admin.DropIndex, events.DropIndex} {
		name := map[bool]string{true: "user", false: "placed_amount"}[len(list.GetIndexes()) == 2]
		if _, err := drop(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: name}); err != nil {
			t.Fatal(err)
		}
		list.Indexes = list.GetIndexes()[:1]
	}
	wantNothingLeft(t, pool)
}

func TestBadIndexesAreToldWhatIsWrong(t *testing.T) {
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
		"no boundary":        {with(func(r *orisunpb.CreateIndexRequest) { r.Boundary = "" }), codes.InvalidArgument, "boundary"},
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
		"an unknown type":    {with(func(r *orisunpb.CreateIndexRequest) { r.Fields[0].ValueType = 7 }), codes.InvalidArgument, "fields[0].value_type"},
		"a numeric type": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Fields[0] = &orisunpb.IndexField{JsonKey: "eventType", ValueType: orisunpb.ValueType_NUMERIC}
		}), codes.InvalidArgument, "fields[0].value_type"},
		"nine conditions": {with(func(r *orisunpb.CreateIndexRequest) {
			r.Conditions = conditions(9, &orisunpb.IndexCondition{Key: "k", Operator: "="})
		}), codes.InvalidArgument, "conditions"},
		"no operator": {with(func(r *orisunpb.CreateIndexRequest) { r.Conditions = conditions(1, &orisunpb.IndexCondition{Key: "k"}) }), codes.InvalidArgument, "conditions[0].operator"},
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
		"another combinator": {with(func(r *orisunpb.CreateIndexRequest) { r.ConditionCombinator = 2 }), codes.InvalidArgument, "condition_combinator"},
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

func TestACancelledBuildLeavesNothing(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	hold(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(ctx, textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	cancel()
	if err := <-built; status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want CANCELLED", err)
	}
	wantNothingLeft(t, pool)
}

func TestABuildEndsWhenTheServerDrains(t *testing.T) {
	pool := bank(t)
	serving, drain := context.WithCancel(context.Background())
	defer drain()
	store := node(t, pool, serving, nil)
	hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	drain()
	if err := <-built; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	wantNothingLeft(t, pool)
}

func TestABuildThatPostgreSQLEndsLeavesNothing(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	terminateBuilds(t, pool)
	if err := <-built; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	wantNothingLeft(t, pool)
}

func terminateBuilds(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_progress_create_index`); err != nil {
		t.Fatal(err)
	}
}

// killedBuild leaves what a server leaves that is killed with its PostgreSQL: nobody cleans up.
func killedBuild(t *testing.T, pool *pgxpool.Pool, store *service.EventStore) {
	t.Helper()
	release := hold(t, pool)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT orisun.create_index('bank', 'account', ARRAY['account'], ARRAY['TEXT'])`)
	if err != nil {
		t.Fatal(err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), statements[0], pgx.QueryExecModeSimpleProtocol)
		ended <- err
	}()
	untilBuilding(t, store, "account")
	terminateBuilds(t, pool)
	if err := <-ended; err == nil {
		t.Fatal("the build was not killed")
	}
	release()
	var invalid int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_index WHERE NOT indisvalid`).Scan(&invalid); err != nil || invalid != 1 {
		t.Fatalf("a killed build leaves %d invalid indexes: %v", invalid, err)
	}
}

func TestWhatAKilledServerLeavesIsCleanedAtTheNextStart(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	killedBuild(t, pool, store)
	if list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary}); err != nil || len(list.GetIndexes()) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	for range 2 {
		if err := store.CleanIndexes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantNothingLeft(t, pool)
}

func TestWhatAKilledServerLeavesIsInNobodysWay(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	killedBuild(t, pool, store)
	if _, err := store.CreateIndex(t.Context(), textIndex("account", "holder")); err != nil {
		t.Fatal(err)
	}
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil || len(list.GetIndexes()) != 1 || list.GetIndexes()[0].GetFields()[0].GetJsonKey() != "holder" {
		t.Errorf("listed: %v, %v", list, err)
	}
	if _, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: "account"}); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, pool)
}

func TestAStartLeavesTheBuildsOfOtherNodesAlone(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	release := hold(t, pool)
	built := make(chan error, 1)
	go func() {
		_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
		built <- err
	}()
	untilBuilding(t, store, "account")
	if err := node(t, pool, nil, nil).CleanIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-built; err != nil {
		t.Errorf("the build beside a start: %v", err)
	}
	if got, err := store.GetIndex(t.Context(), &orisunpb.GetIndexRequest{Boundary: boundary, Name: "account"}); err != nil || got.GetIndex().GetState() != orisunpb.IndexState_INDEX_STATE_READY {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTwoNodesThatMakeOneIndexAtOnceBuildItOnce(t *testing.T) {
	pool := bank(t)
	release := hold(t, pool)
	built := make(chan error, 3)
	stores := []*service.EventStore{node(t, pool, nil, nil), node(t, pool, nil, nil), node(t, pool, nil, nil)}
	for _, store := range stores {
		go func() {
			_, err := store.CreateIndex(t.Context(), textIndex("account", "account"))
			built <- err
		}()
	}
	untilBuilding(t, stores[0], "account")
	relation := func() (oid uint32) {
		if err := pool.QueryRow(t.Context(), `SELECT to_regclass('public.bank_account_idx')::oid`).Scan(&oid); err != nil {
			t.Fatal(err)
		}
		return oid
	}
	first := relation()
	until(t, "the others wait", func() bool {
		var sessions int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%lock_indexes(p_boundary =>%' AND pid <> pg_backend_pid()`).Scan(&sessions); err != nil {
			t.Fatal(err)
		}
		return sessions == 2
	})
	release()
	for range stores {
		if err := <-built; err != nil {
			t.Error(err)
		}
	}
	if last := relation(); last != first || first == 0 {
		t.Errorf("the index was built again: relation %d, then %d", first, last)
	}
}

// Two CREATE INDEX CONCURRENTLY on one table would wait for each other's snapshot.
func TestManyIndexesAtOnceBesideSavesDoNotDeadlock(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	var saving sync.WaitGroup
	saving.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: boundary, Query: &orisunpb.SaveQuery{Criteria: tagged("k0", fmt.Sprint(i))}, Events: []*orisunpb.EventToSave{event(fmt.Sprint(i), fmt.Sprintf(`{"k0": %d}`, i))},
			})
			if err != nil {
				t.Errorf("a save beside builds: %v", err)
				return
			}
		}
	})
	var building sync.WaitGroup
	for i := range 6 {
		building.Go(func() {
			for _, change := range []func() error{
				func() error {
					_, err := store.CreateIndex(t.Context(), textIndex(fmt.Sprint("i", i), fmt.Sprint("k", i)))
					return err
				},
				func() error {
					_, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: fmt.Sprint("i", i)})
					return err
				},
			} {
				if err := change(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	building.Wait()
	stop()
	saving.Wait()
	wantNothingLeft(t, pool)
}

func TestAdviceNamesTheCriteriaThatNoIndexServes(t *testing.T) {
	pool := bank(t)
	log := &lockedBuffer{}
	store := node(t, pool, nil, log)
	ask := func(pairs ...string) {
		t.Helper()
		if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary, Query: &orisunpb.Query{Criteria: tagged(pairs...)}}); err != nil {
			t.Fatal(err)
		}
	}
	advice := func() (text []string) {
		t.Helper()
		list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list.GetAdvice() {
			if time.Since(a.GetSince().AsTime()) > time.Minute || a.GetCreate().GetBoundary() != boundary {
				t.Errorf("advice: %v", a)
			}
			text = append(text, fmt.Sprintf("%d× %s: %s", a.GetCount(), strings.Join(a.GetKeys(), "+"), a.GetCreate().GetName()))
		}
		return text
	}
	ask("user id", "1")
	ask() // matches every event: nothing to index
	for i := range 3 {
		ask("b", fmt.Sprint(i), "eventType", "T")
		ask("event_type", "T", "b", fmt.Sprint(i), "b", "twice")
	}
	if _, err := store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{Boundary: boundary, Criteria: tagged("user id", "2")}); err != nil {
		t.Fatal(err)
	}
	if got, want := advice(), []string{"6× b+event_type: b_event_type", "2× user id: user_id"}; !slices.Equal(got, want) {
		t.Errorf("advice: %q, want %q", got, want)
	}
	if n := log.lines("no index serves"); n != 2 {
		t.Errorf("the log tells %d times, want once for each of two shapes", n)
	}
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: boundary})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.GetAdvice() {
		if _, err := store.CreateIndex(t.Context(), a.GetCreate()); err != nil {
			t.Fatal(err)
		}
	}
	ask("user id", "3")
	ask("b", "9", "event_type", "T")
	if got := advice(); len(got) != 0 {
		t.Errorf("advice that was followed: %q", got)
	}
	if _, err := store.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: boundary, Name: "user_id"}); err != nil {
		t.Fatal(err)
	}
	ask("user id", "4")
	if got, want := advice(), []string{"1× user id: user_id"}; !slices.Equal(got, want) {
		t.Errorf("advice after the index is gone: %q, want %q", got, want)
	}
}

func TestExplainTellsTheIndexOfEachCriterion(t *testing.T) {
	pool := bank(t)
	store := node(t, pool, nil, nil)
	if _, err := store.CreateIndex(t.Context(), textIndex("save", "save")); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{Boundary: boundary, Events: []*orisunpb.EventToSave{event(fmt.Sprint(i), fmt.Sprintf(`{"save": "s", "id": "%d"}`, i))}}); err != nil {
			t.Fatal(err)
		}
	}
	criteria := append(append(tagged("id", "3"), tagged("save", "s")...), tagged("id", "5")...)
	got, err := store.Explain(t.Context(), &orisunpb.ExplainRequest{GetEvents: &orisunpb.GetEventsRequest{Boundary: boundary, Query: &orisunpb.Query{Criteria: criteria}, Count: 4}})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, scan := range got.GetScans() {
		text = append(text, fmt.Sprintf("%v %s %v %d", scan.GetCriteria(), scan.GetIndex(), scan.GetServed(), scan.GetEvents()))
	}
	if want := []string{"[2] bank_save_idx true 4", "[1 3] bank_orisun_es_event_pkey false 2"}; !slices.Equal(text, want) {
		t.Errorf("scans: %q, want %q", text, want)
	}
	if got.GetEvents() != 4 || got.GetBuffers() == 0 || got.GetExecutionMs() == 0 || !strings.Contains(got.GetPlan(), "Merge Append") {
		t.Errorf("got %v", got)
	}
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{})
	wantViolation(t, err, codes.InvalidArgument, "get_events")
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{GetEvents: &orisunpb.GetEventsRequest{Boundary: boundary, Count: 10_001}})
	wantViolation(t, err, codes.InvalidArgument, "get_events.count")
	_, err = store.Explain(t.Context(), &orisunpb.ExplainRequest{GetEvents: &orisunpb.GetEventsRequest{Boundary: "nowhere"}})
	wantViolation(t, err, codes.NotFound, "")
}
