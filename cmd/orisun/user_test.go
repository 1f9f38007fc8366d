package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// command runs the binary as an admin would, with something on its standard input, and returns all that it printed.
func command(t *testing.T, input string, environment []string, args ...string) (output string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = environment
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// login sends a user's password with a call.
func login(t testing.TB, username, password string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", basicHeader(username, password))
}

func basicHeader(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// TestAUserFromTheCommandLineOnTwoServers follows a user from its creation to its deletion, on one server, while it
// works with another one.
func TestAUserFromTheCommandLineOnTwoServers(t *testing.T) {
	receiver, endpoint := startCollector(t, "127.0.0.1:0")
	database := outside(pgtest.NewEmpty(t))
	database = append(database, "ORISUN_LOGGING_LEVEL=DEBUG", "ORISUN_OTEL_ENABLED=true", "ORISUN_OTEL_ENDPOINT="+endpoint)
	here := launch(t, environment(t.TempDir(), append(database, "ORISUN_NATS_SERVER_NAME=here")...))
	there := launch(t, environment(t.TempDir(), append(database, "ORISUN_NATS_SERVER_NAME=there")...))
	var printed strings.Builder
	orisun := func(input string, args ...string) string {
		t.Helper()
		output, ok := command(t, input, []string{"ORISUN_URL=grpc://admin:changeit@" + here.address}, args...)
		if !ok {
			t.Fatalf("orisun %s: %s", strings.Join(args, " "), output)
		}
		printed.WriteString(output)
		return output
	}

	orisun("first-s3cret\n", "user", "create", "janedoe", "--name", "Jane Doe", "--role", "USER")
	if lines := strings.Split(orisun("", "user", "list", "--json"), "\n"); len(lines) != 3 ||
		!strings.Contains(lines[1], `"roles":["user"]`) || !strings.Contains(lines[1], `"username":"janedoe"`) {
		t.Fatalf("listed %q", lines)
	}
	if table := orisun("", "user", "list"); !strings.Contains(table, "janedoe") || !strings.Contains(table, "Jane Doe") {
		t.Errorf("the list is\n%s", table)
	}

	jane := orisunpb.NewEventStoreClient(dial(t, there.address))
	event := func(id string) *orisunpb.SaveEventsRequest {
		return &orisunpb.SaveEventsRequest{
			Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{}`}},
		}
	}
	var header metadata.MD
	if _, err := jane.SaveEvents(login(t, "janedoe", "first-s3cret"), event("1"), grpc.Header(&header)); err != nil {
		t.Fatalf("the very next call, on the other server: %v", err)
	}
	token := metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", header.Get("x-auth-token")[0])
	if _, err := jane.GetEvents(token,
		&orisunpb.GetEventsRequest{Boundary: "orisun_admin"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a user reads the admin's events: %v", err)
	}

	if output, ok := command(t, "second-s3cret\n", []string{"ORISUN_URL=grpc://janedoe:first-s3cret@" + here.address},
		"user", "password"); !ok {
		t.Fatal(output)
	}
	if _, err := jane.Ping(token, &orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token from before the password was changed: %v", err)
	}
	if _, err := jane.Ping(login(t, "janedoe", "second-s3cret"), &orisunpb.PingRequest{},
		grpc.Header(&header)); err != nil {
		t.Errorf("the new password: %v", err)
	}

	output := orisun("third-s3cret\n", "user", "password", "janedoe") // by an admin
	if want := "changed the password of janedoe; its sessions end\n"; output != want {
		t.Errorf("the command prints %q, want %q", output, want)
	}
	if _, err := jane.Ping(login(t, "janedoe", "second-s3cret"),
		&orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the password before the admin's: %v", err)
	}

	// A thief of a token has it until the sessions of the user end.
	steal := func() context.Context {
		t.Helper()
		header = nil
		if _, err := jane.Ping(login(t, "janedoe", "third-s3cret"), &orisunpb.PingRequest{},
			grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		return metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", header.Get("x-auth-token")[0])
	}
	ended := steal()
	if output := orisun("", "user", "logout", "janedoe"); output != "ended all sessions of janedoe\n" {
		t.Errorf("the command prints %q", output)
	}
	if _, err := jane.Ping(ended, &orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stolen token after the end of all sessions: %v", err)
	}

	// A thief subscribes.
	stolen := steal()
	stream, err := jane.CatchUpSubscribeToEvents(stolen, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: eventtest.Boundary, AfterPosition: eventtest.Beginning,
	})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetEventId() != "1" {
		t.Fatalf("%v, %v", first, err)
	}
	orisun("", "user", "delete", "janedoe", "--yes")
	if _, err := jane.Ping(stolen, &orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stolen token after the deletion: %v", err)
	}
	admin := connect(t, there.address)
	if _, err := admin.SaveEvents(t.Context(), event("2")); err != nil {
		t.Fatal(err)
	}
	if second, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a subscription of a user who is deleted: %v, %v", second, err)
	}

	orisun("fourth-s3cret\n", "user", "create", "janedoe", "--role", "read:"+eventtest.Boundary, "--json")
	orisun("", "user", "roles", "janedoe", "WRITE:"+eventtest.Boundary)
	if _, err := jane.GetEvents(login(t, "janedoe", "fourth-s3cret"),
		&orisunpb.GetEventsRequest{Boundary: eventtest.Boundary}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a role that was taken away: %v", err)
	}
	if _, err := jane.Ping(login(t, "janedoe", "wr0ng-s3cret"),
		&orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a wrong password: %v", err)
	}

	// Nothing of all that has left a secret anywhere.
	people := eventtest.Subscribe(t, admin, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_admin", AfterPosition: eventtest.Beginning,
	})
	page, err := admin.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_admin"})
	if err != nil || len(page.GetEvents()) != 8 {
		t.Fatalf("%v, %v", page, err)
	}
	people.Wants(page.GetEvents())
	for _, name := range []string{
		"orisun.Admin/CreateUser", "query CreateUser", "orisun.Admin/ChangePassword", "query ChangeUserPassword",
		"orisun.Admin/ChangeUserRoles", "orisun.Admin/SetUserPassword", "orisun.Admin/EndUserSessions",
	} {
		waitFor(t, func() bool {
			return slices.ContainsFunc(receiver.all(), func(span *tracepb.Span) bool { return span.GetName() == name })
		})
	}
	for name, text := range map[string]string{
		"an event": page.String(), "a trace": fmt.Sprint(receiver.all()), "the log": here.logged() + there.logged(),
		"what a command printed": printed.String(),
	} {
		for _, secret := range []string{"s3cret", "changeit", "$2a$"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, name)
			}
		}
	}
}

func TestUserCommandsSayWhatIsWrong(t *testing.T) {
	server := launchWith(t)
	for _, c := range []struct {
		args  []string
		input string
		want  string
	}{
		{[]string{"user", "create", "janedoe", "--role", "user"}, "", "standard input"},
		{[]string{"user", "create", "janedoe"}, "s3cret", "roles: has 0 roles"},
		{[]string{"user", "create", "janedoe", "--role", "root"}, "s3cret", "roles[0]"},
		{[]string{"user", "create"}, "s3cret", "needs USERNAME"},
		{[]string{"user", "roles", "janedoe"}, "", "at least one ROLE"},
		{[]string{"user", "delete", "stranger", "--yes"}, "", `no user is called "stranger": orisun user list shows all`},
		{[]string{"user", "delete", "admni", "--yes"}, "", `no user is called "admni": did you mean admin?`},
		{[]string{"user", "delete", "admin", "--yes"}, "", "another admin has to delete"},
		{[]string{"user", "delete", "admin"}, "yes\n", "--yes confirms"},
		{[]string{"user", "password"}, "weak", "new_password: has 4 bytes"},
		{[]string{"user", "password", "stranger"}, "s3cret", `no user is called "stranger": orisun user list shows all`},
		{[]string{"user", "password", "a", "b"}, "s3cret", "takes one USERNAME at most, not 2"},
		{[]string{"user", "password", "admin"}, "weak", "new_password: has 4 bytes"},
		{[]string{"user", "logout"}, "", "needs USERNAME"},
		{[]string{"user", "logout", "stranger"}, "", `no user is called "stranger": orisun user list shows all`},
		{[]string{"user", "list", "--ask-password"}, "wrong", "UNAUTHENTICATED: wrong password, or no such user"},
		{[]string{"user", "list", "--ask-password"}, "", "the password of admin"},
		{[]string{"user", "password", "--ask-password"}, "changeit\nweak", "new_password: has 4 bytes"},
		{[]string{"user", "password", "--ask-password"}, "changeit\n", "the new password"},
		{[]string{"user", "list", "--password", "changeit"}, "", "unknown flag"},
	} {
		output, ok := command(t, c.input, []string{"ORISUN_URL=" + server.address}, c.args...)
		if ok || !strings.Contains(output, c.want) {
			t.Errorf("orisun %s: %q, want %q in it", strings.Join(c.args, " "), output, c.want)
		}
	}
}
