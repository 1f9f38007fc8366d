package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

const lacksRights = "the server's role lacks rights"

// grant runs docs/grants.sql as the role of config.
func grant(t *testing.T, config *pgx.ConnConfig, role string, migrates bool) {
	t.Helper()
	pgTool(t, config, "psql", "-X", "-v", "role="+role, "-v", fmt.Sprintf("migrates=%t", migrates), "-f",
		"../../docs/grants.sql")
}

// psql runs a script of psql's as the role of config.
func psql(t *testing.T, config *pgx.ConnConfig, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.sql")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	pgTool(t, config, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", path)
}

// wantRefused fails unless PostgreSQL's refusal is reported with the right that is missing.
func wantRefused(t *testing.T, what string, err error, names string) {
	t.Helper()
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), names) {
		t.Errorf("%s: want FAILED_PRECONDITION with %q, got %v", what, names, err)
	}
}

// roles creates roles of the test's own, by which to connect to its database.
func roles(t *testing.T, superuser *pgx.ConnConfig, names ...string) (configs []*pgx.ConnConfig) {
	t.Helper()
	for _, name := range names {
		role := superuser.Copy()
		role.User = superuser.Database + "_" + name
		executeOn(t, superuser, "CREATE ROLE "+role.User+" LOGIN")
		configs = append(configs, role)
	}
	return configs
}

// wantNoStart fails unless a server that lacks rights ends with one that it lacks, and where to find them all.
func wantNoStart(t *testing.T, env []string) {
	t.Helper()
	code, said := runToEnd(t, environment(t.TempDir(), env...))
	if code != exitFailed || !strings.Contains(said, "permission denied for") ||
		!strings.Contains(said, "docs/grants.sql") {
		t.Errorf("a start without rights: code %d\n%s", code, said)
	}
}

func TestTheFileOfGrantsIsEnoughForTheOwner(t *testing.T) {
	config := pgtest.NewEmpty(t)
	owner := roles(t, config, "owner")[0]
	wantNoStart(t, outside(owner))
	grant(t, config, owner.User, true)
	server := launch(t, environment(t.TempDir(), outside(owner)...))
	if log := server.logged(); strings.Contains(log, lacksRights) {
		t.Errorf("the owner lacks rights:\n%s", log)
	}
	admin := orisunpb.NewAdminClient(dial(t, server.address, grpc.WithPerRPCCredentials(basic{})))
	if _, err := admin.CreateIndex(t.Context(), indexOn("by_owner")); err != nil {
		t.Error(err)
	}
	_, err := admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
		Name: "sales", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "sales"},
	})
	if err != nil {
		t.Error(err)
	}
	useEverything(t, server, config)
}

// TestTheFileOfGrantsIsEnoughForAnotherRole runs a role that may only what docs/grants.sql gives it, on what a DBA
// migrated.
func TestTheFileOfGrantsIsEnoughForAnotherRole(t *testing.T) {
	config, data := pgtest.NewEmpty(t), t.TempDir()
	both := roles(t, config, "dba", "app")
	dba, app := both[0], both[1]
	grant(t, config, dba.User, true)
	if code, said := runToEnd(t, environment(t.TempDir(), outside(dba)...), "migrate"); code != 0 {
		t.Fatalf("orisun migrate: %s", said)
	}
	migrated := append(outside(app), "ORISUN_PG_AUTO_MIGRATE=false")
	wantNoStart(t, migrated)
	psql(t, dba, `SELECT orisun.initialize_boundary_tables(b.name, b.schema)
		  FROM (VALUES ('orisun_admin', 'admin'), ('orisun_test_1', 'public'), ('orisun_test_2', 'test2')) AS b(name, schema);
		SELECT orisun.create_index('orisun_test_1', 'by_dba', ARRAY['b'], ARRAY['TEXT']) \gexec`)
	grant(t, dba, app.User, false)
	server := launch(t, environment(data, migrated...))
	if log := server.logged(); strings.Contains(log, lacksRights) {
		t.Errorf("after the file is run the role lacks rights:\n%s", log)
	}
	useEverything(t, server, config)

	// What only the owner may, it does in psql. The new boundary's rights come from the same file.
	psql(t, dba, `SELECT orisun.create_index('orisun_test_1', 'later', ARRAY['a'], ARRAY['TEXT']) \gexec
		SELECT orisun.create_boundary('later', 'later', '', false, 'orisun_admin', current_user)`)
	store := connect(t, server.address)
	save := func(id string) error {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "later", Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{}`}},
		})
		return err
	}
	wantRefused(t, "a save in a boundary of which the role has no rights", save("early"),
		"permission denied for schema later")
	grant(t, dba, app.User, false)
	if err := save("late"); err != nil {
		t.Errorf("a save after the file is run again: %v", err)
	}
	useEverything(t, server, config)
	wantRightsOfOwner(t, server)

	// One right is taken away: calls, readiness and the next start name it.
	executeOn(t, dba, "REVOKE INSERT ON later.later_orisun_es_event FROM "+app.User)
	wantRefused(t, "a save without INSERT", save("refused"), "permission denied for table later_orisun_es_event")
	named := "GRANT INSERT ON TABLE later.later_orisun_es_event TO " + app.User
	waitFor(t, func() bool {
		_, answer := ask(t, http.MethodGet, "http://"+server.http+"/readyz", "")
		return strings.Contains(answer, named)
	})
	server.stop(t, syscall.SIGTERM)
	server = launch(t, environment(data, migrated...))
	if log := server.logged(); strings.Count(log, lacksRights) != 1 || !strings.Contains(log, `"missing":"`+named+`"`) {
		t.Errorf("the start does not say in one line that the right is missing:\n%s", log)
	}
}

// useEverything calls what a role needs no ownership for.
func useEverything(t *testing.T, server *process, superuser *pgx.ConnConfig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	conn := dial(t, server.address, grpc.WithPerRPCCredentials(basic{}))
	store, admin := orisunpb.NewEventStoreClient(conn), orisunpb.NewAdminClient(conn)
	last := &orisunpb.Position{}
	tag := []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "a", Value: "1"}}}}
	page, err := store.GetEvents(ctx, &orisunpb.GetEventsRequest{
		Boundary: "orisun_test_1", Direction: orisunpb.Direction_DESC, Count: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if events := page.GetEvents(); len(events) > 0 {
		last = events[0].GetPosition()
	}
	id := fmt.Sprint("event ", last.GetTransactionId())
	_, err = store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Query: &orisunpb.SaveQuery{ExpectedPosition: last, Criteria: tag},
		Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{"a": "1"}`}},
	})
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	latest, err := store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
		Boundary: "orisun_test_1", Criteria: tag,
	})
	if err != nil || latest.GetResults()[0].GetEvent().GetEventId() != id {
		t.Errorf("latest: %v %v", latest, err)
	}
	stream, err := store.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_test_1", AfterPosition: last, SubscriberName: "projector", Query: &orisunpb.Query{Criteria: tag},
	})
	if err != nil {
		t.Fatal(err)
	}
	if event, err := stream.Recv(); err != nil || event.GetEventId() != id {
		t.Errorf("subscribe: %v %v", event, err)
	}
	user, err := admin.CreateUser(ctx, &orisunpb.CreateUserRequest{
		Name: "Jane", Username: id, Password: "a long password", Roles: []string{"user"},
	})
	if err != nil {
		t.Fatalf("create a user: %v", err)
	}
	if _, err := admin.DeleteUser(ctx, &orisunpb.DeleteUserRequest{UserId: user.GetUser().GetUserId()}); err != nil {
		t.Errorf("delete a user: %v", err)
	}
	if list, err := store.ListIndexes(ctx, &orisunpb.ListIndexesRequest{Boundary: "orisun_test_1"}); err != nil ||
		len(list.GetIndexes()) == 0 {
		t.Errorf("list indexes: %v %v", list, err)
	}
	database, err := pgx.ConnectConfig(ctx, superuser)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() (published bool) { // by the outbox
		err := database.QueryRow(ctx,
			`SELECT p.global_id = l.global_id FROM orisun.get_published_position('orisun_test_1') p,
				orisun.get_last_position('orisun_test_1') l`).Scan(&published)
		if err != nil {
			t.Fatal(err)
		}
		return published
	})
	if err := database.Close(ctx); err != nil {
		t.Error(err)
	}
}

// wantRightsOfOwner fails unless each call that takes ownership says so.
func wantRightsOfOwner(t *testing.T, server *process) {
	t.Helper()
	conn := dial(t, server.address, grpc.WithPerRPCCredentials(basic{}))
	admin := orisunpb.NewAdminClient(conn)
	_, err := admin.CreateIndex(t.Context(), indexOn("by_app"))
	wantRefused(t, "create an index", err,
		"only the owner of table public.orisun_test_1_orisun_es_event changes its indexes")
	_, err = admin.DropIndex(t.Context(), &orisunpb.DropIndexRequest{Boundary: "orisun_test_1", Name: "by_dba"})
	wantRefused(t, "drop an index", err,
		"only the owner of table public.orisun_test_1_orisun_es_event changes its indexes")
	_, err = admin.DeleteBoundary(t.Context(), &orisunpb.DeleteBoundaryRequest{Name: "later", ConfirmName: "later"})
	wantRefused(t, "delete a boundary", err, "must be owner of table later_projector_checkpoint")
	_, err = admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
		Name: "sales", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "sales"},
	})
	wantRefused(t, "create a boundary", err, "permission denied for database")
}

func indexOn(name string) *orisunpb.CreateIndexRequest {
	return &orisunpb.CreateIndexRequest{
		Boundary: "orisun_test_1", Name: name, Fields: []*orisunpb.IndexField{{JsonKey: "a"}},
	}
}
