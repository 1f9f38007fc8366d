package service_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
)

const actsBoundary = "orisun_admin"

// catalog is an Admin over a fresh database whose only boundary is the admin's, and the boundaries it notified the
// publisher of.
type catalog struct {
	*service.Admin
	store *service.EventStore
	pool  *pgxpool.Pool

	mu               sync.Mutex
	created, deleted []string
}

func newCatalog(t *testing.T) *catalog {
	t.Helper()
	c := &catalog{pool: pgtest.New(t)}
	pgtest.Boundary(t, c.pool, actsBoundary)
	c.store = service.NewEventStore(service.Config{
		Write: c.pool, Read: c.pool, MaxPageBytes: maxPageBytes,
		MessageSize:     func(string, string, string, int, int) int { return 0 },
		BoundaryCreated: func(name string) { c.mu.Lock(); defer c.mu.Unlock(); c.created = append(c.created, name) },
		BoundaryDeleted: func(name string) { c.mu.Lock(); defer c.mu.Unlock(); c.deleted = append(c.deleted, name) },
		Configured:      func(name string) bool { return name == "configured" || name == actsBoundary },
	})
	t.Cleanup(func() {
		if err := c.store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.Admin = service.NewAdmin(c.store, actsBoundary, nil)
	return c
}

// create calls as alice.
func (c *catalog) create(t *testing.T, name, schema, description string, adopt bool) (*orisunpb.BoundaryInfo, error) {
	t.Helper()
	answer, err := c.CreateBoundary(auth.NewContext(t.Context(), auth.Identity{Username: "alice"}),
		&orisunpb.CreateBoundaryRequest{
			Name: name, Description: description, ExistedBeforeCatalog: adopt,
			Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: schema},
		})
	return answer.GetBoundary(), err
}

func (c *catalog) get(t *testing.T, name string) *orisunpb.BoundaryInfo {
	t.Helper()
	answer, err := c.GetBoundary(t.Context(), &orisunpb.GetBoundaryRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetBoundary()
}

// log is the admin boundary's log, a line an event.
func (c *catalog) log(t *testing.T) (lines []string) {
	t.Helper()
	page, err := c.store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: actsBoundary})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proto.Marshal(page) // a page has its events in the wire form only
	if err != nil {
		t.Fatal(err)
	}
	received := &orisunpb.GetEventsResponse{}
	if err := proto.Unmarshal(wire, received); err != nil {
		t.Fatal(err)
	}
	for _, e := range received.GetEvents() {
		lines = append(lines, e.GetEventType()+" "+e.GetData()+" "+e.GetMetadata())
	}
	return lines
}

func (c *catalog) execute(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := c.pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// save stores an event and returns its position.
func (c *catalog) save(t *testing.T, boundary, id string) (*orisunpb.Position, error) {
	t.Helper()
	result, err := c.store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: boundary, Events: []*orisunpb.EventToSave{event(id, `{}`)},
	})
	return result.GetLogPosition(), err
}

func TestABoundaryIsCreatedAndTheLogNamesItsCreator(t *testing.T) {
	c := newCatalog(t)
	got, err := c.create(t, "orders", "sales", "Orders", false)
	if err != nil {
		t.Fatal(err)
	}
	want := &orisunpb.BoundaryInfo{
		Name: "orders", Description: "Orders",
		Placement:          &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: "sales"},
		Status:             orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE,
		DefinitionPosition: at(2, 0), StatusPosition: at(2, 1),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`BoundaryDefined {"boundary": "orders", "placement": {"backend": "postgres", "namespace": "sales"}, "description": ` +
			`"Orders", "existed_before_catalog": false} {"actor": "alice"}`,
		`BoundaryActivated {"boundary": "orders"} {"actor": "alice"}`,
	}, c.log(t)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
	if _, err := c.save(t, "orders", "a"); err != nil {
		t.Error(err)
	}

	list, err := c.ListBoundaries(t.Context(), &orisunpb.ListBoundariesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	listed := proto.CloneOf(want)
	listed.Indexes = proto.Int64(0)
	configured := &orisunpb.BoundaryInfo{
		Indexes: proto.Int64(0),
		Name:    actsBoundary, Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: "public"},
		Status: orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE,
	}
	if diff := cmp.Diff([]*orisunpb.BoundaryInfo{listed, configured}, list.GetBoundaries(),
		protocmp.Transform()); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, c.get(t, "orders"), protocmp.Transform()); diff != "" {
		t.Errorf("alone (-want +got):\n%s", diff)
	}
	if _, err := c.GetBoundary(t.Context(),
		&orisunpb.GetBoundaryRequest{Name: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown boundary: %v", err)
	}
}

func TestTheSameDefinitionAgainIsASuccessAndAnotherOneIsNot(t *testing.T) {
	c := newCatalog(t)
	var errs [16]error
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { _, errs[i] = c.create(t, "orders", "sales", "Orders", false) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for _, other := range []func() (*orisunpb.BoundaryInfo, error){
		func() (*orisunpb.BoundaryInfo, error) { return c.create(t, "orders", "public", "Orders", false) },
		func() (*orisunpb.BoundaryInfo, error) { return c.create(t, "orders", "sales", "Other orders", false) },
		func() (*orisunpb.BoundaryInfo, error) { return c.create(t, "orders", "sales", "Orders", true) },
		func() (*orisunpb.BoundaryInfo, error) { return c.create(t, actsBoundary, "sales", "", false) },
	} {
		if _, err := other(); status.Code(err) != codes.AlreadyExists ||
			!strings.Contains(err.Error(), "another definition") {
			t.Errorf("another definition: %v", err)
		}
	}
	if log := c.log(t); len(log) != 2 {
		t.Errorf("sixteen calls are logged as %d events, want 2: %q", len(log), log)
	}
}

func TestBadDefinitionsNameEveryFieldThatIsWrong(t *testing.T) {
	c := newCatalog(t)
	for name, test := range map[string]struct {
		request *orisunpb.CreateBoundaryRequest
		fields  string
	}{
		"empty": {&orisunpb.CreateBoundaryRequest{}, "name placement.namespace"},
		"everything": {&orisunpb.CreateBoundaryRequest{
			Name: "1st", Description: "a\x00b",
			Placement: &orisunpb.BoundaryPlacementInput{Backend: "sqlite", Namespace: `public"; --`},
		}, "name description placement.backend placement.namespace"},
		"one byte too long": {&orisunpb.CreateBoundaryRequest{
			Name: strings.Repeat("b", 27), Placement: &orisunpb.BoundaryPlacementInput{Namespace: strings.Repeat("s", 64)},
		}, "name placement.namespace"},
		"PostgreSQL's own schema": {&orisunpb.CreateBoundaryRequest{
			Name: "orders", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "pg_catalog"},
		}, "placement.namespace"},
		"characters that are two bytes": {&orisunpb.CreateBoundaryRequest{
			Name: "ä", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "public"},
		}, "name"},
	} {
		_, err := c.CreateBoundary(t.Context(), test.request)
		var fields []string
		for _, detail := range status.Convert(err).Details() {
			for _, violation := range detail.(*errdetails.BadRequest).GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		}
		if status.Code(err) != codes.InvalidArgument || strings.Join(fields, " ") != test.fields {
			t.Errorf("%s: %v blames %q, want %q", name, err, fields, test.fields)
		}
	}
	if _, err := c.create(t, strings.Repeat("b", 26), strings.Repeat("s", 63), "", false); err != nil {
		t.Errorf("the longest names: %v", err)
	}
	if _, err := c.save(t, strings.Repeat("b", 26), "a"); err != nil {
		t.Errorf("a save to the longest name: %v", err)
	}
}

func TestABoundaryThatCannotBeProvisionedSaysWhyAndCanBeDefinedAgain(t *testing.T) {
	c := newCatalog(t)
	c.execute(t, `CREATE TABLE public.orders_projector_checkpoint (mine text)`)
	_, err := c.create(t, "orders", "public", "", false)
	wantReason(t, err, codes.FailedPrecondition, "BOUNDARY_FAILED")
	failed := c.get(t, "orders")
	if failed.GetStatus() != orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_FAILED ||
		!strings.Contains(failed.GetLastError(), "orders_projector_checkpoint") {
		t.Errorf("got %v, want FAILED and the table that prevents it", failed)
	}
	var left bool
	if err := c.pool.QueryRow(t.Context(), `SELECT to_regclass('public.orders_orisun_es_event') IS NOT NULL`).
		Scan(&left); err != nil || left {
		t.Errorf("half a boundary is left: %t, %v", left, err)
	}
	if _, err := c.save(t, "orders", "a"); status.Code(err) != codes.NotFound {
		t.Errorf("a save to a failed boundary: %v", err)
	}

	again, err := c.create(t, "orders", "sales", "elsewhere", false)
	if err != nil || again.GetLastError() != "" || again.GetStatusPosition().GetGlobalId() != 3 {
		t.Errorf("defined again: %v, %v", again, err)
	}
	if _, err := c.save(t, "orders", "a"); err != nil {
		t.Error(err)
	}
	if log := c.log(t); len(log) != 4 || !strings.HasPrefix(log[1], "BoundaryFailed") ||
		!strings.Contains(log[1], "orders_projector_checkpoint") {
		t.Errorf("the log has %q", log)
	}
	if diff := cmp.Diff([]string{"orders"}, c.created); diff != "" {
		t.Errorf("the publisher was notified of (-want +got):\n%s", diff)
	}
}

func TestTablesThatAreThereAreAdoptedOnlyWhenAskedFor(t *testing.T) {
	c := newCatalog(t)
	if _, err := c.create(t, "orders", "sales", "", false); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := c.save(t, "orders", id); err != nil {
			t.Fatal(err)
		}
	}
	// As after a restore of schema sales alone: another boundary has the number that the default of global_id names.
	c.execute(t, `DELETE FROM orisun.boundary WHERE name = 'orders'`, `DROP TABLE sales.orders_projector_checkpoint`,
		`ALTER SEQUENCE sales.orders_orisun_es_event_global_id_seq RESTART`)

	_, err := c.create(t, "orders", "sales", "", false)
	wantReason(t, err, codes.FailedPrecondition, "BOUNDARY_FAILED")
	got, err := c.create(t, "orders", "sales", "", true)
	if err != nil || !got.GetExistedBeforeCatalog() {
		t.Fatalf("adopted: %v, %v", got, err)
	}
	c.execute(t, `INSERT INTO sales.orders_orisun_es_event (event_id, event_type, data) VALUES ('by hand', 'T', '{}')`)
	position, err := c.save(t, "orders", "c")
	if err != nil || position.GetGlobalId() != 3 || position.GetTransactionId() != 4 {
		t.Errorf("the next save has position %v, %v; want {4,3}", position, err)
	}
	var draws, want string
	if err := c.pool.QueryRow(t.Context(),
		`SELECT pg_get_expr(d.adbin, d.adrelid), format('orisun.draw_position(%s)', b.number)
		   FROM pg_attrdef d, orisun.boundary b
		  WHERE d.adrelid = 'sales.orders_orisun_es_event'::regclass AND d.adnum = 1
		  AND b.name = 'orders'`).Scan(&draws, &want); err != nil || draws != want {
		t.Errorf("an INSERT by hand draws its position from %s, %v; want %s", draws, err, want)
	}
}

func TestWhatIsNoBoundaryIsNotAdopted(t *testing.T) {
	const columns = `(global_id bigint PRIMARY KEY, transaction_id bigint NOT NULL, date_created timestamptz NOT NULL,
		event_id text NOT NULL UNIQUE, event_type text NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL)`
	for name, test := range map[string]struct{ prepare, want string }{
		"nothing":         {`SELECT`, "does not exist"},
		"other columns":   {`CREATE TABLE orders_orisun_es_event (id bigint)`, "another shape"},
		"lacking a check": {`CREATE TABLE orders_orisun_es_event ` + columns, "another shape"},
		"a view":          {`CREATE VIEW orders_orisun_es_event AS SELECT * FROM orisun.event`, "orders_orisun_es_event"},
		"positions of another kind": {`CREATE TABLE orders_orisun_es_event (LIKE orisun.event INCLUDING ALL);
			INSERT INTO orders_orisun_es_event VALUES (0, 731, now(), 'a', 'T', '{}'),
			  (1, 732, now(), 'b', 'T', '{}')`, "global_id 0 is out of order"},
		"a save that has no end": {`CREATE TABLE orders_orisun_es_event (LIKE orisun.event INCLUDING ALL);
			INSERT INTO orders_orisun_es_event VALUES (0, 2, now(), 'a', 'T', '{}')`, "global_id 0 is out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCatalog(t)
			c.execute(t, `SET search_path = public; `+test.prepare)
			_, err := c.create(t, "orders", "public", "", true)
			wantReason(t, err, codes.FailedPrecondition, "BOUNDARY_FAILED")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestBoundariesAreListedWhereTheirIndexesCannotBeCounted(t *testing.T) {
	c := newCatalog(t)
	if _, err := c.pool.Exec(t.Context(), `DROP FUNCTION orisun.count_indexes()`); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListBoundaries(t.Context(), &orisunpb.ListBoundariesRequest{})
	if err != nil || len(list.GetBoundaries()) != 1 || list.GetBoundaries()[0].Indexes != nil {
		t.Errorf("the list is %v, %v", list, err)
	}
}
