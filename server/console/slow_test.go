package console_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// lock locks tables by a connection of its own until release is called, or the test ends. Queries of them wait.
func lock(t *testing.T, server *servertest.Server, mode string, tables ...string) (release func()) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), server.Database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE "+table+" IN "+mode+" MODE"); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// eventsTable is the table with the events of orisun_test_1.
func eventsTable(t *testing.T, server *servertest.Server) (table string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), server.Database)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), `SELECT format('%I.%I', schema_name, name || '_orisun_es_event')
		FROM orisun.boundary WHERE name = 'orisun_test_1'`).Scan(&table); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return table
}

// waits returns a condition: whether a query that matches a regular expression waits for a lock.
func waits(t *testing.T, server *servertest.Server) func(query string) bool {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), server.Database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return func(query string) (found bool) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ $1)`, query).
			Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
}

// until waits for a condition of the server.
func until(t *testing.T, what string, isTrue func() bool) {
	t.Helper()
	for end := time.Now().Add(stepTimeout); !isTrue(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, stepTimeout)
		}
	}
}

// cancel is the first button of the page that cancels a call.
func cancel() chromedp.Action {
	return chromedp.Click(`(//main//button[normalize-space()="Cancel"])[1]`)
}

// Each page shows that it waits for a slow query, can cancel it, and can be left meanwhile.
func TestSlowQueriesOfPagesAreShownAndCancelled(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "UserRegistered", `{"username": "alice"}`)
	events := eventsTable(t, server)
	ctx := browser(t)
	run(ctx, t, "log in", logIn(server, "admin", "changeit"), see("Saves / s"))
	release := lock(t, server, "ACCESS EXCLUSIVE", events, "orisun.boundary_index", "orisun.subscription")
	at := "?boundary=orisun_test_1&c=username%3Dalice"
	for _, page := range []struct{ path, after string }{
		{"events", "UserRegistered"},
		{"events" + at, "UserRegistered"},
		{"boundaries", "orisun_test_1"},
		{"playground", "Compose a context"},
		{"playground" + at, "How it is found"},
		{"conflicts", "Conflicts"},
		{"conflicts" + at, "Average / minute"},
		{"indexes", "No indexes"},
		{"indexes" + at, "No indexes"},
		{"subscriptions", "No durable subscriptions"},
		{"subscriptions" + at, "No durable subscriptions"},
		{"users", "Username"},
	} {
		run(ctx, t, page.path+" waits", visit(server, page.path, "Loading …"))
		run(ctx, t, page.path+" is cancelled", cancel(), see("Cancelled."))
		run(ctx, t, page.path+" is left", chromedp.Click(`//nav//a[text()="Overview"]`), see("Saves / s"))
	}
	release()
	run(ctx, t, "afterwards", visit(server, "events"+at, "UserRegistered"))
}

func TestACancelledQueryEndsInPostgreSQLAndCanBeRepeated(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "UserRegistered", `{"username": "alice"}`)
	waiting := waits(t, server)
	ctx := browser(t)
	run(ctx, t, "log in", logIn(server, "admin", "changeit"))
	for page, seen := range map[string]struct{ query, text string }{
		"events":     {"name: Read", "UserRegistered"},
		"playground": {"name: (Read|ExplainPage)", "How it is found"},
	} {
		release := lock(t, server, "ACCESS EXCLUSIVE", eventsTable(t, server))
		run(ctx, t, page, visit(server, page+"?boundary=orisun_test_1&c=username%3Dalice", "Loading …"))
		until(t, "a query waits", func() bool { return waiting(seen.query) })
		run(ctx, t, "cancel "+page, cancel(), see("Cancelled."))
		until(t, "the query has ended", func() bool { return !waiting(seen.query) })
		release()
		run(ctx, t, "load "+page, click("Load"), see(seen.text), gone("Cancelled."))
	}
}

// A jump to a time reads many times.
func TestAJumpToATimeIsCancelled(t *testing.T) {
	server := servertest.Start(t)
	for i := range 60 {
		save(t, server, fmt.Sprint(i), "Counted", fmt.Sprintf(`{"n": %d}`, i))
	}
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"),
		visit(server, "events?boundary=orisun_test_1&live=off", "Counted"))
	release := lock(t, server, "ACCESS EXCLUSIVE", eventsTable(t, server))
	run(ctx, t, "a jump that waits", chromedp.Evaluate(`document.querySelector('details').open = true`, nil),
		fill(`input[name=to]`, "2020-01-01 12:00"), click("Go"), see("Working …"), cancel(), see("Cancelled."),
		chromedp.WaitEnabled(`details form button`, chromedp.ByQuery))
	run(ctx, t, "a jump from a page that is left", click("Go"), see("Working …"),
		chromedp.Click(`//nav//a[text()="Overview"]`), see("Saves / s"))
	release()
	run(ctx, t, "no jump afterwards", chromedp.Evaluate(`fetch('/orisun.EventStore/GetEvents', {method: 'POST',
		headers: {'X-Orisun-Console': '1', 'Content-Type': 'application/json'},
		body: '{"boundary": "orisun_test_1"}'}).then(r => r.text())`, nil, awaitPromise),
		holds(`location.hash === '#/overview'`))
}

// The progress of a build is in PostgreSQL: each node shows the builds of all.
func TestABuildOfAnotherNodeShowsItsProgress(t *testing.T) {
	north, south := startCluster(t)
	save(t, north, "1", "UserRegistered", `{"username": "alice"}`)
	release := lock(t, north, "ROW EXCLUSIVE", eventsTable(t, north)) // builds wait for writers
	built := make(chan error, 1)
	go func() {
		_, err := orisunpb.NewEventStoreClient(south.Dial(t)).CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
			Boundary: "orisun_test_1", Name: "username", Fields: []*orisunpb.IndexField{{JsonKey: "username"}},
		})
		built <- err
	}()
	ctx := browser(t)
	run(ctx, t, "the build of the other node", logIn(north, "admin", "changeit"),
		visit(north, "indexes?boundary=orisun_test_1", "Building"), see("waiting for writers before build"),
		holds(`!/Cancel/.test(document.querySelector('main').innerText)`), narrow(t))
	release()
	run(ctx, t, "its end", see("Unused"), gone("Building"))
	if err := <-built; err != nil {
		t.Error(err)
	}
}

func TestABuildOfThePageIsCancelled(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "UserRegistered", `{"username": "alice"}`)
	release := lock(t, server, "ROW EXCLUSIVE", eventsTable(t, server))
	ctx := browser(t)
	run(ctx, t, "a build", logIn(server, "admin", "changeit"), visit(server, "indexes?boundary=orisun_test_1",
		"No indexes"), fill(`input[name=name]`, "email"), fill(`input[name=keys]`, "email\n"),
		see("waiting for writers before build"))
	run(ctx, t, "cancel it", cancel(), see("No indexes"), gone("email:"))
	release()
	until(t, "the index is gone", func() bool {
		list, err := orisunpb.NewEventStoreClient(server.Dial(t)).ListIndexes(t.Context(),
			&orisunpb.ListIndexesRequest{Boundary: "orisun_test_1"})
		return err == nil && len(list.GetIndexes()) == 0
	})
}
