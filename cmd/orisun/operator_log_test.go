package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/postgres"
)

// TestAnOutageOfPostgreSQLIsOneErrorAndOneLineAtItsEnd ends PostgreSQL under calls, and starts it again. Then the
// server drains, and its last line says so.
func TestAnOutageOfPostgreSQLIsOneErrorAndOneLineAtItsEnd(t *testing.T) {
	data := t.TempDir()
	run := func(port int) *postgres.Server {
		database, err := postgres.Start(t.Context(), postgres.Config{
			DataDir: data + "/pg", Port: port, User: "postgres", Password: "postgres", Database: "orisun", Durable: true,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return database
	}
	database := run(0)
	port := database.Port()
	t.Cleanup(func() {
		if err := database.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server := launch(t, environment(t.TempDir(), "ORISUN_PG_HOST="+database.Host(), "ORISUN_PG_PORT="+strconv.Itoa(port)))
	store := connect(t, server.address)
	saveTraced(t.Context(), t, store, "before")
	stream := eventtest.Subscribe(t, store, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_test_1", AfterPosition: eventtest.Beginning,
	})
	stream.Reaches("before")
	before := len(server.logged())

	if err := database.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	const begins, ends = "PostgreSQL cannot be reached", "PostgreSQL answers again"
	for !strings.Contains(server.logged(), begins) { // calls fail, or their callers give up, all the time
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, read := store.GetEvents(ctx, &orisunpb.GetEventsRequest{Boundary: "orisun_test_1"})
		_, save := store.SaveEvents(ctx, unconditional("during"))
		cancel()
		if read == nil && save == nil {
			t.Fatal("PostgreSQL is stopped, and a read and a save succeed")
		}
	}
	database = run(port)
	waitFor(t, func() bool { return strings.Contains(server.logged(), ends) })
	saveTraced(t.Context(), t, store, "after")
	stream.Reaches("after")
	logged := server.logged()[before:]
	if lines := problems(logged); len(lines) != 1 || !strings.Contains(lines[0], `"level":"ERROR"`) ||
		!strings.Contains(lines[0], begins) || !strings.Contains(lines[0], "connect") {
		t.Errorf("the outage is logged in %d lines:\n%s", len(lines), logged)
	}
	if strings.Count(logged, ends) != 1 || !strings.Contains(logged, `"away":"`) {
		t.Errorf("its end is not logged once, with its duration:\n%s", logged)
	}

	server.stop(t, syscall.SIGTERM)
	lines := strings.Split(strings.TrimSpace(server.logged()), "\n")
	var last struct {
		Level, Msg, Took string
		StreamsEnded     int `json:"streams_ended"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Level != "INFO" ||
		!strings.HasPrefix(last.Msg, "stopped") || last.StreamsEnded != 1 || last.Took == "" {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}
	if lines := problems(strings.Join(lines[len(lines)-3:], "\n")); len(lines) > 0 {
		t.Errorf("a subscription that ends with the server is logged: %q", lines)
	}
}

func unconditional(id string) *orisunpb.SaveEventsRequest {
	return &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{}`}},
	}
}

func TestTheLogNamesWhoChangedWhatAndWhoseLoginFailed(t *testing.T) {
	server := launchWith(t)
	conn := dial(t, server.address, grpc.WithPerRPCCredentials(basic{}))
	admin, store := orisunpb.NewAdminClient(conn), orisunpb.NewEventStoreClient(conn)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	created, err := admin.CreateUser(ctx, &orisunpb.CreateUserRequest{
		Name: "Jane", Username: "jane", Password: "secret-1", Roles: []string{"user"},
	})
	must(err)
	id := created.GetUser().GetUserId()
	_, err = admin.ChangeUserRoles(ctx, &orisunpb.ChangeUserRolesRequest{UserId: id, Roles: []string{"operations"}})
	must(err)
	_, err = orisunpb.NewAdminClient(dial(t, server.address)).ChangePassword(metadata.AppendToOutgoingContext(ctx,
		"authorization", "Basic amFuZTpzZWNyZXQtMQ=="),
		&orisunpb.ChangePasswordRequest{UserId: id, CurrentPassword: "secret-1", NewPassword: "secret-2"})
	must(err)
	_, err = admin.SetUserPassword(ctx, &orisunpb.SetUserPasswordRequest{UserId: id, NewPassword: "secret-3"})
	must(err)
	_, err = admin.EndUserSessions(ctx, &orisunpb.EndUserSessionsRequest{UserId: id})
	must(err)
	_, err = admin.DeleteUser(ctx, &orisunpb.DeleteUserRequest{UserId: id})
	must(err)
	for range 2 { // the second time changes nothing
		_, err = admin.CreateBoundary(ctx, &orisunpb.CreateBoundaryRequest{
			Name: "orders", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "sales"},
		})
		must(err)
		_, err = store.CreateIndex(ctx, &orisunpb.CreateIndexRequest{
			Boundary: "orders", Name: "by_id", Fields: []*orisunpb.IndexField{{JsonKey: "id"}},
		})
		must(err)
	}
	_, err = admin.DropIndex(ctx, &orisunpb.DropIndexRequest{Boundary: "orders", Name: "by_id"})
	must(err)
	_, err = orisunpb.NewEventStoreClient(dial(t, server.address)).
		Ping(metadata.AppendToOutgoingContext(ctx, "authorization", "Basic bWFsbG9yeTp4"), &orisunpb.PingRequest{})
	if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "mallory") {
		t.Errorf("a failed login: %v", err)
	}

	want := map[string]string{ // what, and about what
		"user created": `"actor":"admin","user":"jane"`, "roles changed": `"roles":["operations"]`,
		"password changed": `"actor":"jane","user":"jane"`,
		"password set":     `"actor":"admin","user":"jane"`, "sessions ended": `"actor":"admin","user":"jane"`,
		"user deleted": `"actor":"admin","user":"jane"`, "boundary created": `"boundary":"orders","schema":"sales"`,
		"index created": `"boundary":"orders","index":"by_id"`, "index dropped": `"boundary":"orders","index":"by_id"`,
		"login failed": `"user":"mallory"`,
	}
	// The client may hear of its failed login before the server has logged it.
	waitFor(t, func() bool { return strings.Contains(server.logged(), `"msg":"login failed"`) })
	for message, about := range want {
		var lines []string
		for line := range strings.Lines(server.logged()) {
			if strings.Contains(line, `"msg":"`+message+`"`) {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 || !strings.Contains(lines[0], about) || !strings.Contains(lines[0], `"peer":"127.0.0.1`) ||
			strings.Contains(lines[0], "secret") {
			t.Errorf("%s is logged by %q, want one line with %s", message, lines, about)
		}
	}
}

func TestAFatalErrorIsJSONWhereTheLogIs(t *testing.T) {
	for want, env := range map[string][]string{
		"ORISUN_GRPC_PORT": environment(t.TempDir(), "ORISUN_GRPC_PORT=many"),
		"no_such_database": environment(t.TempDir(),
			append(outside(pgtest.NewEmpty(t)), "ORISUN_PG_NAME=no_such_database")...),
	} {
		_, output := runToEnd(t, env)
		lines := strings.Split(strings.TrimSpace(output), "\n")
		var last struct{ Level, Msg, Error string }
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Level != "ERROR" ||
			!strings.Contains(last.Error, want) {
			t.Errorf("%v: the last line is %s", err, lines[len(lines)-1])
		}
	}
}
