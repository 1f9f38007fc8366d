package service_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// remove calls as alice.
func (c *catalog) remove(t *testing.T, name, confirm string) (*orisunpb.DeleteBoundaryResponse, error) {
	t.Helper()
	return c.DeleteBoundary(auth.NewContext(t.Context(), auth.Identity{Username: "alice"}),
		&orisunpb.DeleteBoundaryRequest{Name: name, ConfirmName: confirm})
}

// newOrders is a catalogue with the boundary orders, two events and an index.
func newOrders(t *testing.T) *catalog {
	t.Helper()
	c := newCatalog(t)
	if _, err := c.create(t, "orders", "sales", "", false); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := c.save(t, "orders", id); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: "orders", Name: "n", Fields: []*orisunpb.IndexField{{JsonKey: "n"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// calls are all calls on a boundary.
func (c *catalog) calls(t *testing.T, boundary string) map[string]error {
	t.Helper()
	ctx, all := t.Context(), map[string]error{}
	_, all["SaveEvents"] = c.save(t, boundary, "z")
	_, all["GetEvents"] = c.store.GetEvents(ctx, &orisunpb.GetEventsRequest{Boundary: boundary})
	tags := []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "n", Value: "1"}}}}
	_, all["GetEvents by criteria"] = c.store.GetEvents(ctx, &orisunpb.GetEventsRequest{
		Boundary: boundary, Query: &orisunpb.Query{Criteria: tags},
	})
	_, all["GetLatestByCriteria"] = c.store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
		Boundary: boundary, Criteria: tags,
	})
	_, all["GetLatestByCriteria by two"] = c.store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
		Boundary: boundary, Criteria: append(tags, tags...),
	})
	_, all["GetEventCount"] = c.GetEventCount(ctx, &orisunpb.GetEventCountRequest{Boundary: boundary})
	_, all["ListConflicts"] = c.ListConflicts(ctx, &orisunpb.ListConflictsRequest{Boundary: boundary})
	_, all["CreateIndex"] = c.store.CreateIndex(ctx, &orisunpb.CreateIndexRequest{
		Boundary: boundary, Name: "m", Fields: []*orisunpb.IndexField{{JsonKey: "m"}},
	})
	_, all["DropIndex"] = c.store.DropIndex(ctx, &orisunpb.DropIndexRequest{Boundary: boundary, Name: "n"})
	return all
}

func TestADeletedBoundaryIsGoneAndItsNameFree(t *testing.T) {
	c := newOrders(t)
	if _, err := c.create(t, "orders_orisun_save", "sales", "a name that begins as those of the functions do",
		false); err != nil {
		t.Fatal(err)
	}
	_, err := c.remove(t, "orders", "order")
	wantViolation(t, err, codes.InvalidArgument, "confirm_name")
	for range 2 { // what is cached of a boundary that was there before does no harm
		for call, err := range c.calls(t, "orders") {
			if err != nil && call != "DropIndex" && !strings.Contains(err.Error(), "exists already") {
				t.Errorf("%s: %v", call, err)
			}
		}
	}
	answer, err := c.remove(t, "orders", "orders")
	if err != nil || answer.GetEvents() != 3 {
		t.Fatalf("%v, %v; want 3 events", answer, err)
	}
	for call, err := range c.calls(t, "orders") {
		t.Run(call, func(t *testing.T) { wantViolation(t, err, codes.NotFound, "") })
	}
	_, err = c.GetBoundary(t.Context(), &orisunpb.GetBoundaryRequest{Name: "orders"})
	wantViolation(t, err, codes.NotFound, "")
	_, err = c.remove(t, "orders", "orders")
	wantViolation(t, err, codes.NotFound, "")
	var left int
	err = c.pool.QueryRow(t.Context(),
		`SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'orders\_%' AND relname NOT LIKE 'orders\_orisun\_save\_%')
		+ (SELECT count(*) FROM orisun.boundary_index)`).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d tables, indexes and sequences are left, %v", left, err)
	}
	if _, err := c.save(t, "orders_orisun_save", "a"); err != nil {
		t.Errorf("the boundary whose name begins the same: %v", err)
	}
	log := c.log(t)
	want := `BoundaryDeleted {"events": 3, "boundary": "orders", "placement": {"backend": "postgres", "namespace": ` +
		`"sales"}} {"actor": "alice"}`
	if last := log[len(log)-1]; last != want {
		t.Errorf("the log ends with %s, want %s", last, want)
	}
	if diff := cmp.Diff([]string{"orders"}, c.deleted); diff != "" {
		t.Errorf("the publisher was notified of (-want +got):\n%s", diff)
	}
	if _, err := c.create(t, "orders", "elsewhere", "", false); err != nil {
		t.Fatal(err)
	}
	if position, err := c.save(t, "orders", "a"); err != nil || position.GetGlobalId() != 0 {
		t.Errorf("the first event of the new boundary: %v, %v", position, err)
	}
}

func TestWhatMustStayIsNotDeleted(t *testing.T) {
	c := newOrders(t)
	_, err := c.remove(t, actsBoundary, actsBoundary)
	wantViolation(t, err, codes.FailedPrecondition, "")
	if err == nil || !strings.Contains(err.Error(), "holds the users") {
		t.Errorf("the admin boundary: %v", err)
	}
	_, err = c.remove(t, "configured", "configured")
	wantReason(t, err, codes.FailedPrecondition, "BOUNDARY_CONFIGURED")

	builder, err := c.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer builder.Release()
	lock := func(function string) {
		t.Helper()
		if _, err := builder.Exec(context.Background(),
			`SELECT `+function+`(orisun.index_class(),
				(SELECT number FROM orisun.boundary WHERE name = 'orders'))`); err != nil {
			t.Error(err)
		}
	}
	lock("pg_advisory_lock")
	_, err = c.remove(t, "orders", "orders")
	wantViolation(t, err, codes.FailedPrecondition, "")
	lock("pg_advisory_unlock")
	c.execute(t, `CREATE VIEW public.report AS SELECT data FROM sales.orders_orisun_es_event`)
	_, err = c.remove(t, "orders", "orders")
	wantViolation(t, err, codes.FailedPrecondition, "")
	if position, err := c.save(t, "orders", "c"); err != nil || position.GetGlobalId() != 2 {
		t.Errorf("the boundary goes on with %v, %v", position, err)
	}
}

func TestTablesThatVanishedAreNotFoundAndMadeAgain(t *testing.T) {
	for name, vanish := range map[string]string{
		"the schema":           `DROP SCHEMA sales CASCADE`,
		"the table of events":  `DROP TABLE sales.orders_orisun_es_event`,
		"all but a checkpoint": `DROP TABLE sales.orders_orisun_es_event, sales.orders_orisun_last_published_event_position`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newOrders(t)
			c.calls(t, "orders") // which caches what it can
			c.execute(t, vanish)
			for range 2 {
				for call, err := range c.calls(t, "orders") {
					t.Run(call, func(t *testing.T) { wantReason(t, err, codes.NotFound, "BOUNDARY_TABLES_MISSING") })
				}
			}
			got := c.get(t, "orders")
			if got.GetStatus() != orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_FAILED ||
				!strings.Contains(got.GetLastError(), "sales.orders_orisun_es_event is missing") {
				t.Errorf("GetBoundary: %v", got)
			}
			if err := c.store.CleanIndexes(t.Context()); err != nil {
				t.Errorf("the start cleans indexes: %v", err)
			}
			if _, err := c.create(t, "orders", "sales", "", false); err != nil {
				t.Fatal(err)
			}
			if position, err := c.save(t, "orders", "a"); err != nil || position.GetGlobalId() != 0 {
				t.Errorf("the first event of the new tables: %v, %v", position, err)
			}
			c.execute(t, `DROP SCHEMA sales CASCADE`)
			if answer, err := c.remove(t, "orders", "orders"); err != nil || answer.GetEvents() != 0 {
				t.Errorf("deleted without tables: %v, %v", answer, err)
			}
		})
	}
}
