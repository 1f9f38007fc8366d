package service_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
)

const adminBoundary = "orisun_admin"

var firstAdmin = auth.Credentials{Username: "admin", Password: "changeit"}

// guarded is a server with users, by gRPC: several on one database are nodes that know nothing of each other.
type guarded struct {
	t       testing.TB
	callers *auth.Authenticator
	admin   *service.Admin
	address string
	conn    *grpc.ClientConn
}

// userDatabase has one boundary for events and one for users.
func userDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, boundary)
	pgtest.Boundary(t, pool, adminBoundary)
	return pool
}

func guard(t testing.TB, pool *pgxpool.Pool) *guarded {
	t.Helper()
	callers, err := auth.New(service.NewDirectory(pool, adminBoundary), adminBoundary, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	store := service.NewEventStore(service.Config{
		Write: pool, Read: pool, MaxPageBytes: maxPageBytes, MaxMessageBytes: maxEventBytes,
		MessageSize: func(_, _, _ string, data, metadata int) int { return data + metadata },
	})
	node := &guarded{t: t, callers: callers, admin: service.NewAdmin(store, adminBoundary, callers)}
	if _, err := node.admin.BootstrapAdmin(t.Context(), firstAdmin); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(callers.UnaryInterceptor),
		grpc.StreamInterceptor(callers.StreamInterceptor))
	orisunpb.RegisterEventStoreServer(server, store)
	orisunpb.RegisterAdminServer(server, node.admin)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(store.Close(context.Background()), <-served); err != nil {
			t.Error(err)
		}
	})
	node.address = listener.Addr().String()
	node.conn = node.connect()
	return node
}

func (g *guarded) connect() *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient(g.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			g.t.Error(err)
		}
	})
	return conn
}

// by is a call's context with a user's password; with is one with a token.
func by(t testing.TB, user auth.Credentials) context.Context {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(user.Username + ":" + user.Password))
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic "+encoded)
}

func with(t testing.TB, token string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", token)
}

func (g *guarded) users() orisunpb.AdminClient { return orisunpb.NewAdminClient(g.conn) }

func (g *guarded) events() orisunpb.EventStoreClient { return orisunpb.NewEventStoreClient(g.conn) }

// logIn returns a token.
func (g *guarded) logIn(user auth.Credentials) string {
	g.t.Helper()
	var header metadata.MD
	if _, err := g.events().Ping(by(g.t, user), &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil {
		g.t.Fatalf("log in as %s: %v", user.Username, err)
	}
	return header.Get("x-auth-token")[0]
}

// ping is what becomes of a call.
func (g *guarded) ping(ctx context.Context) codes.Code {
	_, err := g.events().Ping(ctx, &orisunpb.PingRequest{})
	return status.Code(err)
}

func (g *guarded) create(user auth.Credentials, roles ...string) *orisunpb.AdminUser {
	g.t.Helper()
	answer, err := g.users().CreateUser(by(g.t, firstAdmin), &orisunpb.CreateUserRequest{
		Name: "A " + user.Username, Username: user.Username, Password: user.Password, Roles: roles,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.GetUser()
}

func TestAChangeOnOneNodeIsInForceOnTheOtherAtTheNextCall(t *testing.T) {
	pool := userDatabase(t)
	here, there := guard(t, pool), guard(t, pool)
	for round := range 3 {
		joe := auth.Credentials{Username: "joe", Password: "s3cret"}
		created := here.create(joe, "user")
		token := there.logIn(joe) // the very next call
		if here.ping(with(t, token)) != codes.OK {
			t.Error("a token of the other node is refused")
		}

		if _, err := here.users().ChangeUserRoles(by(t, firstAdmin), &orisunpb.ChangeUserRolesRequest{
			UserId: created.GetUserId(), Roles: []string{"OPERATIONS"},
		}); err != nil {
			t.Fatal(err)
		}
		if code := there.ping(with(t, token)); code != codes.Unauthenticated {
			t.Errorf("round %d: a token with the roles before: %v", round, code)
		}
		if _, err := there.users().GetUserCount(by(t, joe), &orisunpb.GetUserCountRequest{}); err != nil {
			t.Errorf("round %d: the new role on the other node: %v", round, err)
		}

		token = there.logIn(joe)
		changed := auth.Credentials{Username: "joe", Password: "an0ther"}
		_, err := here.users().ChangePassword(by(t, joe), &orisunpb.ChangePasswordRequest{
			UserId: created.GetUserId(), CurrentPassword: joe.Password, NewPassword: changed.Password,
		})
		if err != nil {
			t.Fatal(err)
		}
		if code := there.ping(with(t, token)); code != codes.Unauthenticated {
			t.Errorf("round %d: a token from before the change of the password: %v", round, code)
		}
		if code := there.ping(by(t, joe)); code != codes.Unauthenticated {
			t.Errorf("round %d: the old password: %v", round, code)
		}

		stolen := there.logIn(changed)
		if _, err := here.users().DeleteUser(by(t, firstAdmin),
			&orisunpb.DeleteUserRequest{UserId: created.GetUserId()}); err != nil {
			t.Fatal(err)
		}
		for name, node := range map[string]*guarded{"here": here, "there": there} {
			if code := node.ping(with(t, stolen)); code != codes.Unauthenticated {
				t.Errorf("round %d: a stolen token after the deletion, %s: %v", round, name, code)
			}
			if code := node.ping(by(t, changed)); code != codes.Unauthenticated {
				t.Errorf("round %d: the password after the deletion, %s: %v", round, name, code)
			}
		}
	}
}

// An admin changes what another user can do; no admin has to know the password before.
func TestAnAdminSetsAPasswordAndEndsSessionsOnAllNodes(t *testing.T) {
	pool := userDatabase(t)
	here, there := guard(t, pool), guard(t, pool)
	joe := auth.Credentials{Username: "joe", Password: "s3cret"}
	jane := auth.Credentials{Username: "jane", Password: "s3cret"}
	id := here.create(joe, "user").GetUserId()
	here.create(jane, "user")
	janes := there.logIn(jane)
	session, _ := there.callers.BeginSession(there.logIn(joe))
	refused := func(what string, contexts ...context.Context) {
		t.Helper()
		for name, node := range map[string]*guarded{"here": here, "there": there} {
			for i, ctx := range contexts {
				if code := node.ping(ctx); code != codes.Unauthenticated {
					t.Errorf("%s, %s, %d: %v", what, name, i, code)
				}
			}
		}
	}

	token := there.logIn(joe)
	if _, err := here.users().EndUserSessions(by(t, firstAdmin),
		&orisunpb.EndUserSessionsRequest{UserId: id}); err != nil {
		t.Fatal(err)
	}
	refused("a token of an ended session", with(t, token), with(t, session))
	token = there.logIn(joe) // the password is the same

	changed := auth.Credentials{Username: "joe", Password: "an0ther"}
	if _, err := here.users().SetUserPassword(by(t, firstAdmin), &orisunpb.SetUserPasswordRequest{
		UserId: id, NewPassword: changed.Password,
	}); err != nil {
		t.Fatal(err)
	}
	refused("after another password", with(t, token), by(t, joe))
	there.logIn(changed)
	if code := there.ping(with(t, janes)); code != codes.OK {
		t.Errorf("the token of another user: %v", code)
	}

	all, err := here.users().ListUsers(by(t, firstAdmin), &orisunpb.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	token = there.logIn(firstAdmin)
	if _, err := here.users().EndUserSessions(with(t, here.logIn(firstAdmin)),
		&orisunpb.EndUserSessionsRequest{UserId: all.GetUsers()[0].GetUserId()}); err != nil {
		t.Errorf("the own sessions: %v", err)
	}
	refused("the own sessions", with(t, token))
}

func TestALogoutIsInForceOnTheOtherNodeAtTheNextCall(t *testing.T) {
	pool := userDatabase(t)
	here, there := guard(t, pool), guard(t, pool)
	for round := range 3 {
		token, begun := here.callers.BeginSession(here.logIn(firstAdmin))
		if !begun || here.ping(with(t, token)) != codes.OK || there.ping(with(t, token)) != codes.OK {
			t.Fatalf("round %d: the session is refused", round)
		}
		if err := here.callers.EndSession(t.Context(), token, &net.TCPAddr{}); err != nil {
			t.Fatal(err)
		}
		for name, node := range map[string]*guarded{"here": here, "there": there} {
			if code := node.ping(with(t, token)); code != codes.Unauthenticated {
				t.Errorf("round %d: the token after its logout, %s: %v", round, name, code)
			}
		}
	}
}

// An ended session is stored until its tokens have expired, and no user can fill the table.
func TestEndedSessionsAreDeletedInTimeAndBoundedPerUser(t *testing.T) {
	pool := userDatabase(t)
	node := guard(t, pool)
	end := func(session int64, expiresIn time.Duration) error {
		return service.NewDirectory(pool, adminBoundary).EndSession(t.Context(), "joe", session, expiresIn)
	}
	for session := range int64(1000) {
		if err := end(session+1, time.Hour); err != nil {
			t.Fatalf("session %d: %v", session, err)
		}
	}
	if err := end(1000, time.Hour); err != nil {
		t.Errorf("end a session a second time: %v", err)
	}
	if err := end(1001, time.Hour); status.Code(err) != codes.ResourceExhausted ||
		!strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("one session more: %v", err)
	}
	if _, err := pool.Exec(t.Context(),
		`UPDATE orisun.ended_session SET expires_at = now() WHERE session < 3`); err != nil {
		t.Fatal(err)
	}
	if err := end(1001, time.Hour); err != nil {
		t.Errorf("one more after two have expired: %v", err)
	}
	var stored, expired int
	if err := pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE session < 3) FROM orisun.ended_session`).
		Scan(&stored, &expired); err != nil || stored != 999 || expired != 0 {
		t.Errorf("%d stored, %d of them expired, %v", stored, expired, err)
	}
	token, _ := node.callers.BeginSession(node.logIn(firstAdmin))
	if err := node.callers.EndSession(t.Context(), token, &net.TCPAddr{}); err != nil {
		t.Errorf("another user's logout: %v", err)
	}
}

func TestSixteenCreationsOfOneNameMakeOneUser(t *testing.T) {
	pool := userDatabase(t)
	nodes := []*guarded{guard(t, pool), guard(t, pool)}
	var creators sync.WaitGroup
	outcomes := make([]codes.Code, 16)
	for i := range outcomes {
		creators.Go(func() {
			_, err := nodes[i%2].users().CreateUser(by(t, firstAdmin), &orisunpb.CreateUserRequest{
				Name: "Jane", Username: "janedoe", Password: fmt.Sprint("s3cret", i), Roles: []string{"user"},
			})
			outcomes[i] = status.Code(err)
		})
	}
	creators.Wait()
	created, taken := 0, 0
	for i, outcome := range outcomes {
		switch outcome {
		case codes.OK:
			created++
			nodes[(i+1)%2].logIn(auth.Credentials{Username: "janedoe", Password: fmt.Sprint("s3cret", i)})
		case codes.AlreadyExists:
			taken++
		}
	}
	count, err := nodes[0].users().GetUserCount(by(t, firstAdmin), &orisunpb.GetUserCountRequest{})
	if err != nil || created != 1 || taken != 15 || count.GetCount() != 2 {
		t.Errorf("%d were created and %d refused: %v; %d users, %v", created, taken, outcomes, count.GetCount(), err)
	}
}

func TestOfManyNodesThatStartAtOnceOneCreatesTheFirstAdmin(t *testing.T) {
	pool := userDatabase(t)
	var nodes []*service.Admin
	for range 6 {
		store := service.NewEventStore(service.Config{Write: pool, Read: pool})
		t.Cleanup(func() {
			if err := store.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, service.NewAdmin(store, adminBoundary, nil))
	}
	var starting sync.WaitGroup
	created := make([]bool, len(nodes))
	for i, node := range nodes {
		starting.Go(func() {
			var err error // each with a name of its own: a taken name is not what stops the others
			if created[i], err = node.BootstrapAdmin(t.Context(), auth.Credentials{
				Username: fmt.Sprint("admin", i), Password: "changeit",
			}); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	if n := len(slices.DeleteFunc(slices.Clone(created), func(c bool) bool { return !c })); n != 1 {
		t.Errorf("%d nodes created an admin", n)
	}
	users, err := nodes[0].ListUsers(t.Context(), &orisunpb.ListUsersRequest{})
	if err != nil || len(users.GetUsers()) != 1 {
		t.Errorf("users: %v, %v", users, err)
	}
	if again, err := nodes[0].BootstrapAdmin(t.Context(), firstAdmin); again || err != nil {
		t.Errorf("at the next start: %v, %v", again, err)
	}
}

func TestABootstrapPasswordThatIsTooWeakIsRefused(t *testing.T) {
	pool := userDatabase(t)
	store := service.NewEventStore(service.Config{Write: pool, Read: pool})
	defer func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	_, err := service.NewAdmin(store, adminBoundary, nil).BootstrapAdmin(t.Context(), auth.Credentials{
		Username: "admin", Password: "short",
	})
	if err == nil || !strings.Contains(err.Error(), "password: has 5 bytes") {
		t.Errorf("error %v", err)
	}
}

// fields are the paths of what is wrong with a request.
func fields(err error) (paths []string) {
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				paths = append(paths, violation.GetField())
			}
		}
	}
	return paths
}

func TestEachRefusalHasItsCodeAndNamesTheFields(t *testing.T) {
	node := guard(t, userDatabase(t))
	joe := auth.Credentials{Username: "joe", Password: "s3cret"}
	created := node.create(joe, "USER", "user", "read:bank")
	if diff := cmp.Diff([]string{"user", "read:bank"}, created.GetRoles()); diff != "" ||
		created.GetCreatedAt().AsTime().IsZero() {
		t.Errorf("the answer is %v", created)
	}
	all, err := node.users().ListUsers(by(t, firstAdmin), &orisunpb.ListUsersRequest{})
	if err != nil || len(all.GetUsers()) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	own, users := all.GetUsers()[0].GetUserId(), node.users()
	create := func(change func(*orisunpb.CreateUserRequest)) func(context.Context) error {
		in := &orisunpb.CreateUserRequest{
			Name: "Jane Doe", Username: "janedoe", Password: "securePass123", Roles: []string{"user"},
		}
		change(in)
		return func(ctx context.Context) error {
			_, err := users.CreateUser(ctx, in)
			return err
		}
	}
	remove := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := users.DeleteUser(ctx, &orisunpb.DeleteUserRequest{UserId: id})
			return err
		}
	}
	grant := func(id string, roles ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := users.ChangeUserRoles(ctx, &orisunpb.ChangeUserRolesRequest{UserId: id, Roles: roles})
			return err
		}
	}
	set := func(id, next string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := users.SetUserPassword(ctx, &orisunpb.SetUserPasswordRequest{UserId: id, NewPassword: next})
			return err
		}
	}
	end := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := users.EndUserSessions(ctx, &orisunpb.EndUserSessionsRequest{UserId: id})
			return err
		}
	}
	change := func(id, current, next string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := users.ChangePassword(ctx, &orisunpb.ChangePasswordRequest{
				UserId: id, CurrentPassword: current, NewPassword: next,
			})
			return err
		}
	}
	for _, c := range []struct {
		name  string
		who   auth.Credentials
		call  func(context.Context) error
		code  codes.Code
		wrong []string
	}{
		{
			"everything is missing", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Reset() }),
			codes.InvalidArgument,
			[]string{"name", "username", "password", "roles"},
		},
		{
			"short username", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = "jé" }),
			codes.InvalidArgument,
			[]string{"username"},
		},
		{
			"long username", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = strings.Repeat("a", 257) }),
			codes.InvalidArgument,
			[]string{"username"},
		},
		{
			"username with a colon", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = "jane:doe" }),
			codes.InvalidArgument,
			[]string{"username"},
		},
		{
			"username with a line", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = "jane\ndoe" }),
			codes.InvalidArgument,
			[]string{"username"},
		},
		{
			"username with NUL", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = "jane\x00" }),
			codes.InvalidArgument,
			[]string{"username", "username"},
		},
		{
			"short password", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Password = "12345" }),
			codes.InvalidArgument,
			[]string{"password"},
		},
		{
			"password longer than bcrypt looks at", firstAdmin,
			create(func(in *orisunpb.CreateUserRequest) { in.Password = strings.Repeat("a", 73) }), codes.InvalidArgument,
			[]string{"password"},
		},
		{
			"unknown role", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Roles = []string{"user", "root"} }),
			codes.InvalidArgument,
			[]string{"roles[1]"},
		},
		{
			"taken username", firstAdmin, create(func(in *orisunpb.CreateUserRequest) { in.Username = "joe" }),
			codes.AlreadyExists, nil,
		},
		{"creation by who may not", joe, create(func(*orisunpb.CreateUserRequest) {}), codes.PermissionDenied, nil},

		{"deletion without an id", firstAdmin, remove(""), codes.InvalidArgument, []string{"user_id"}},
		{"deletion of a stranger", firstAdmin, remove("stranger"), codes.NotFound, nil},
		{"deletion of the own account", firstAdmin, remove(own), codes.FailedPrecondition, nil},
		{"deletion by who may not", joe, remove(own), codes.PermissionDenied, nil},

		{"roles of a stranger", firstAdmin, grant("stranger", "user"), codes.NotFound, nil},
		{"no roles", firstAdmin, grant(created.GetUserId()), codes.InvalidArgument, []string{"roles"}},
		{"own roles", firstAdmin, grant(own, "user"), codes.FailedPrecondition, nil},

		{
			"password without anything", joe, change("", "", ""), codes.InvalidArgument,
			[]string{"user_id", "current_password", "new_password"},
		},
		{
			"weak new password", joe, change(created.GetUserId(), "s3cret", "weak"), codes.InvalidArgument,
			[]string{"new_password"},
		},
		{"wrong current password", joe, change(created.GetUserId(), "wrong1", "an0ther"), codes.Unauthenticated, nil},
		{"another's password", firstAdmin, change(created.GetUserId(), "changeit", "an0ther"), codes.PermissionDenied, nil},
		{"the password of a stranger", joe, change("stranger", "s3cret", "an0ther"), codes.PermissionDenied, nil},

		{
			"set a password without anything", firstAdmin, set("", ""), codes.InvalidArgument,
			[]string{"user_id", "new_password"},
		},
		{
			"set a weak password", firstAdmin, set(created.GetUserId(), "weak"), codes.InvalidArgument,
			[]string{"new_password"},
		},
		{"set the password of a stranger", firstAdmin, set("stranger", "an0ther"), codes.NotFound, nil},
		{"set the own password", firstAdmin, set(own, "an0ther"), codes.FailedPrecondition, nil},
		{"set a password without the right", joe, set(own, "an0ther"), codes.PermissionDenied, nil},
		{"sessions without a user", firstAdmin, end(""), codes.InvalidArgument, []string{"user_id"}},
		{"sessions of a stranger", firstAdmin, end("stranger"), codes.NotFound, nil},
		{"end sessions without the right", joe, end(own), codes.PermissionDenied, nil},

		{"a save into the admin boundary", firstAdmin, func(ctx context.Context) error {
			_, err := node.events().SaveEvents(ctx, &orisunpb.SaveEventsRequest{
				Boundary: adminBoundary, Events: []*orisunpb.EventToSave{event("forged", `{"user_id": "x"}`)},
			})
			return err
		}, codes.PermissionDenied, nil},
		{"a count of an unknown boundary", firstAdmin, func(ctx context.Context) error {
			_, err := users.GetEventCount(ctx, &orisunpb.GetEventCountRequest{Boundary: "nowhere"})
			return err
		}, codes.NotFound, nil},
		{"another's credentials", joe, func(ctx context.Context) error {
			_, err := users.ValidateCredentials(ctx, &orisunpb.ValidateCredentialsRequest{
				Username: "admin", Password: "changeit",
			})
			return err
		}, codes.PermissionDenied, nil},
		{"credentials without anything", firstAdmin, func(ctx context.Context) error {
			_, err := users.ValidateCredentials(ctx, &orisunpb.ValidateCredentialsRequest{})
			return err
		}, codes.InvalidArgument, []string{"username", "password"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(by(t, c.who))
			if status.Code(err) != c.code || !slices.Equal(fields(err), c.wrong) {
				t.Errorf("%v, with fields %v; want %v with %v", err, fields(err), c.code, c.wrong)
			}
		})
	}
	if count, err := users.GetUserCount(by(t, firstAdmin), &orisunpb.GetUserCountRequest{}); err != nil ||
		count.GetCount() != 2 {
		t.Errorf("after all that there are %v users, %v", count, err)
	}
}

func TestValidatedCredentialsSayWhoseTheyAre(t *testing.T) {
	node := guard(t, userDatabase(t))
	created := node.create(auth.Credentials{Username: "joe", Password: "s3cret"}, "user")
	validate := func(username, password string) *orisunpb.ValidateCredentialsResponse {
		answer, err := node.users().ValidateCredentials(by(t, firstAdmin), &orisunpb.ValidateCredentialsRequest{
			Username: username, Password: password,
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if diff := cmp.Diff(&orisunpb.ValidateCredentialsResponse{Success: true, User: created}, validate("joe", "s3cret"),
		protocmp.Transform()); diff != "" {
		t.Errorf("right ones: %s", diff)
	}
	for _, wrong := range [][2]string{{"joe", "wrong1"}, {"stranger", "s3cret"}} {
		if diff := cmp.Diff(&orisunpb.ValidateCredentialsResponse{}, validate(wrong[0], wrong[1]),
			protocmp.Transform()); diff != "" {
			t.Errorf("wrong ones: %s", diff)
		}
	}
}

func TestTheLogOfUsersNamesWhoDidWhatAndNoSecret(t *testing.T) {
	pool := userDatabase(t)
	node := guard(t, pool)
	joe := auth.Credentials{Username: "joe", Password: "s3cret-of-joe"}
	created := node.create(joe, "user")
	if _, err := node.users().ChangePassword(by(t, joe), &orisunpb.ChangePasswordRequest{
		UserId: created.GetUserId(), CurrentPassword: joe.Password, NewPassword: "new-s3cret",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.users().ChangeUserRoles(by(t, firstAdmin), &orisunpb.ChangeUserRolesRequest{
		UserId: created.GetUserId(), Roles: []string{"operations"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.users().SetUserPassword(by(t, firstAdmin), &orisunpb.SetUserPasswordRequest{
		UserId: created.GetUserId(), NewPassword: "newer-s3cret",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.users().EndUserSessions(by(t, firstAdmin),
		&orisunpb.EndUserSessionsRequest{UserId: created.GetUserId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.users().DeleteUser(by(t, firstAdmin),
		&orisunpb.DeleteUserRequest{UserId: created.GetUserId()}); err != nil {
		t.Fatal(err)
	}
	page, err := node.events().GetEvents(by(t, firstAdmin), &orisunpb.GetEventsRequest{Boundary: adminBoundary})
	if err != nil {
		t.Fatal(err)
	}
	var logged []string
	for _, event := range page.GetEvents() {
		var data, by map[string]any
		if err := errors.Join(json.Unmarshal([]byte(event.GetData()), &data),
			json.Unmarshal([]byte(event.GetMetadata()), &by)); err != nil {
			t.Fatal(err)
		}
		logged = append(logged, fmt.Sprintf("%v: %s %v %v",
			by["actor"], event.GetEventType(), data["username"], data["roles"]))
		for _, secret := range []string{"s3cret", "changeit", "$2a$", "hash"} {
			if strings.Contains(event.String(), secret) {
				t.Errorf("%q is in %v", secret, event)
			}
		}
	}
	if diff := cmp.Diff([]string{
		"bootstrap: UserCreated admin [admin]", "admin: UserCreated joe [user]", "joe: UserPasswordChanged joe <nil>",
		"admin: UserRolesChanged joe [operations]", "admin: UserPasswordChanged joe <nil>",
		"admin: UserSessionsEnded joe <nil>", "admin: UserDeleted joe <nil>",
	}, logged); diff != "" {
		t.Errorf("the log has (-want +got):\n%s", diff)
	}
	var left int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM orisun.user_credential WHERE user_id = $1`,
		created.GetUserId()).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d hashes of a deleted user are left, %v", left, err)
	}
	count, err := node.users().GetEventCount(by(t, firstAdmin), &orisunpb.GetEventCountRequest{Boundary: adminBoundary})
	if err != nil || count.GetCount() != 7 {
		t.Errorf("counted %v, %v", count, err)
	}
}

func TestAnImpossibleUsernameIsAWrongOne(t *testing.T) {
	pool := userDatabase(t)
	node := guard(t, pool)
	directory := service.NewDirectory(pool, adminBoundary)
	for _, username := range []string{"", "a\x00b", "\xff\xfe", strings.Repeat("a", 1<<20), "stranger"} {
		if login, err := directory.Login(t.Context(), "", username); login != nil || err != nil {
			t.Errorf("%.10q is %v, %v", username, login, err)
		}
	}
	if code := node.ping(by(t, auth.Credentials{
		Username: "\xff\xfe", Password: "s3cret",
	})); code != codes.Unauthenticated {
		t.Errorf("a call with it: %v", code)
	}
}

// What DBAs save by hand about users counts as well, and conflicts with a decision that did not see it.
func TestAUserSavedByHandTakesItsName(t *testing.T) {
	pool := userDatabase(t)
	node := guard(t, pool)
	_, err := pool.Exec(t.Context(), `SELECT orisun.insert_events_with_consistency($1, '{}', '[
		{"event_id": "1", "event_type": "UserCreated", "data": {"user_id": "u1", "username": "byhand", "name": "By Hand",
		  "roles": ["user"]}},
		{"event_id": "2", "event_type": "UserCreated", "data": {"user_id": "u2", "username": "odd", "roles": "none"}},
		{"event_id": "3", "event_type": "UserDeleted", "data": {"user_id": 7}},
		{"event_id": "4", "event_type": "SomethingElse", "data": {}},
		{"event_id": "5", "event_type": "UserCreated", "data": {"user_id": "u5", "username": "later user", "roles": [null,
		  "user", {"a": 1}]}}]')`, adminBoundary)
	if err != nil {
		t.Fatal(err)
	}
	_, err = node.users().CreateUser(by(t, firstAdmin), &orisunpb.CreateUserRequest{
		Name: "x", Username: "byhand", Password: "s3cret", Roles: []string{"user"},
	})
	if status.Code(err) != codes.AlreadyExists {
		t.Errorf("a name that was taken by hand: %v", err)
	}
	node.create(auth.Credentials{Username: "another", Password: "s3cret"}, "user")
	if code := node.ping(by(t, auth.Credentials{Username: "byhand"})); code != codes.Unauthenticated {
		t.Errorf("a user without a password logs in with none: %v", code)
	}
	all, err := node.users().ListUsers(by(t, firstAdmin), &orisunpb.ListUsersRequest{})
	if err != nil || len(all.GetUsers()) != 5 {
		t.Errorf("with odd users in it the list is %v, %v", all, err)
	}
}

// Clients that exist send rights by boundary. They are roles, and nothing else.
func TestPermissionsInABoundaryAreRoles(t *testing.T) {
	node := guard(t, userDatabase(t))
	users := node.users()
	created, err := users.CreateUser(by(t, firstAdmin), &orisunpb.CreateUserRequest{
		Name: "Joe", Username: "joe", Password: "s3cret", BoundaryPermissions: []*orisunpb.BoundaryPermissionGrant{
			{Boundary: "bank", Permissions: []string{"READ", "APPEND", "READ"}},
			{Boundary: "orders", Permissions: []string{"READ"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	joe := created.GetUser()
	if diff := cmp.Diff([]string{"read:bank", "write:bank", "read:orders"}, joe.GetRoles()); diff != "" {
		t.Error(diff)
	}
	if got := fmt.Sprint(joe.GetBoundaryPermissions()); strings.Count(got, "READ") != 2 ||
		strings.Count(got, "APPEND") != 1 {
		t.Error(got)
	}
	set := func(boundary string, permissions ...string) (*orisunpb.AdminUser, error) {
		answer, err := users.SetUserBoundaryPermissions(by(t, firstAdmin), &orisunpb.SetUserBoundaryPermissionsRequest{
			UserId: joe.GetUserId(), Boundary: boundary, Permissions: permissions,
		})
		return answer.GetUser(), err
	}
	for _, change := range []struct {
		boundary    string
		permissions []string
		want        []string
	}{
		{"bank", []string{"APPEND"}, []string{"read:orders", "write:bank"}},
		{"orders", nil, []string{"write:bank"}},
		{"bank", nil, []string{}},
		{"bank", []string{"READ"}, []string{"read:bank"}},
	} {
		changed, err := set(change.boundary, change.permissions...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(change.want, append([]string{}, changed.GetRoles()...)); diff != "" {
			t.Error(diff)
		}
	}
	_, err = set("no boundary", "READ", "WRITE")
	if diff := cmp.Diff([]string{"boundary", "permissions[1]"}, fields(err)); diff != "" {
		t.Error(diff, err)
	}
}
