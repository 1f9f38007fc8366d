package auth_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

var update = flag.Bool("update", false, "replace the table in docs/security.md")

const (
	document     = "../../docs/security.md"
	tableBegins  = "<!-- what follows is written by `go test ./service/auth -run Matrix -update` -->\n"
	tableEnds    = "<!-- until here -->\n"
	ownBoundary  = "orders"
	elseBoundary = "payments"
)

// matrixRoles are the columns: each a user who has this role alone. The scoped ones are for ownBoundary.
var matrixRoles = []string{"admin", "operations", "user", "read:orders", "write:orders", "admin:orders"}

// methods are all RPCs of ours, as the protocol declares them.
func methods(t *testing.T) (all []protoreflect.MethodDescriptor) {
	t.Helper()
	for _, file := range []protoreflect.FileDescriptor{
		orisunpb.File_eventstore_proto, orisunpb.File_admin_proto, orisunpb.File_subscriptions_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				all = append(all, service.Methods().Get(j))
			}
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d RPCs are found", len(all))
	}
	return all
}

func fullName(method protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
}

// request is one that names a boundary wherever it can.
func request(t *testing.T, method protoreflect.MethodDescriptor, boundary string) (message proto.Message, names bool) {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
	if err != nil {
		t.Fatal(err)
	}
	into := kind.New()
	for _, name := range []protoreflect.Name{"get_events", "start"} {
		if inner := into.Descriptor().Fields().ByName(name); inner != nil &&
			into.Descriptor().Fields().ByName("boundary") == nil {
			return into.Interface(), setBoundary(into.Mutable(inner).Message(), "boundary", boundary)
		}
	}
	field := protoreflect.Name("boundary")
	if method.Name() == "GetBoundary" {
		field = "name"
	}
	return into.Interface(), setBoundary(into, field, boundary)
}

func setBoundary(message protoreflect.Message, field protoreflect.Name, boundary string) bool {
	descriptor := message.Descriptor().Fields().ByName(field)
	if descriptor == nil || descriptor.Kind() != protoreflect.StringKind {
		return false
	}
	message.Set(descriptor, protoreflect.ValueOfString(boundary))
	return true
}

// try makes one call through the interceptor that a server would use, and reports whether it reaches the handler.
func try(
	t *testing.T, node *auth.Authenticator, token string, method protoreflect.MethodDescriptor, in proto.Message,
) bool {
	t.Helper()
	ctx := grpc.NewContextWithServerTransportStream(incoming("x-auth-token", token), &transportStream{})
	var err error
	reached := false
	if method.IsStreamingServer() {
		stream := &serverStream{ctx: ctx, in: in}
		err = node.StreamInterceptor(nil, stream, &grpc.StreamServerInfo{FullMethod: fullName(method)},
			func(_ any, stream grpc.ServerStream) error {
				if err := stream.RecvMsg(in.ProtoReflect().New().Interface()); err != nil {
					return err
				}
				reached = true
				return nil
			})
	} else {
		_, err = node.UnaryInterceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: fullName(method)},
			func(context.Context, any) (any, error) {
				reached = true
				return nil, nil
			})
	}
	if (err == nil) != reached || err != nil && status.Code(err) != codes.PermissionDenied {
		t.Fatalf("%s: %v, reached: %v", fullName(method), err, reached)
	}
	return reached
}

// TestTheMatrixOfRightsIsTheDocumentedOne makes every call as every role, for one's own, another and the admin's
// boundary, and compares what happens with the table in docs/security.md.
func TestTheMatrixOfRightsIsTheDocumentedOne(t *testing.T) {
	users := newDirectory(t, randomKey())
	for _, role := range matrixRoles {
		users.add(t, auth.Credentials{Username: strings.ReplaceAll(role, ":", " "), Password: "s3cret"}, role)
	}
	node := newNode(t, users)
	tokens := make([]string, len(matrixRoles))
	for i, role := range matrixRoles {
		tokens[i] = issue(t, node, basic(strings.ReplaceAll(role, ":", " ")+":s3cret"))
	}

	var table strings.Builder
	fmt.Fprintf(&table, "| RPC | %s |\n|---%s|\n",
		strings.Join(matrixRoles, " | "), strings.Repeat("|---", len(matrixRoles)))
	for _, method := range methods(t) {
		cells := []string{"`" + strings.TrimPrefix(fullName(method), "/orisun.") + "`"}
		for i := range matrixRoles {
			cells = append(cells, cell(t, node, tokens[i], method))
		}
		fmt.Fprintf(&table, "| %s |\n", strings.Join(cells, " | "))
	}

	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), tableBegins)
	want, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", document)
	}
	if *update {
		if err := os.WriteFile(document, []byte(before+tableBegins+table.String()+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(table.String(), "\n")); diff != "" {
		t.Errorf("who may do what differs from %s; look at the difference, then `go test ./service/auth -run Matrix "+
			"-update` (-documented +observed):\n%s", document, diff)
	}
}

// cell says where a role may make a call.
func cell(t *testing.T, node *auth.Authenticator, token string, method protoreflect.MethodDescriptor) string {
	t.Helper()
	may := func(boundary string) bool {
		in, _ := request(t, method, boundary)
		return try(t, node, token, method, in)
	}
	if _, names := request(t, method, ""); !names {
		if may("") {
			return "yes"
		}
		return "–"
	}
	switch where := [3]bool{may(ownBoundary), may(elseBoundary), may(adminBoundary)}; where {
	case [3]bool{true, true, true}:
		return "all"
	case [3]bool{true, true, false}:
		return "all but the admin's"
	case [3]bool{true, false, false}:
		return "`orders`"
	case [3]bool{}:
		return "–"
	default:
		return fmt.Sprint("own, another, the admin's: ", where)
	}
}

// What must never become true, whatever the table says.
func TestNoRoleReachesBeyondItsPurpose(t *testing.T) {
	users := newDirectory(t, randomKey())
	everyRole := []string{"admin", "operations", "user", "read:orisun_admin", "write:orisun_admin", "admin:orisun_admin"}
	users.add(t, auth.Credentials{Username: "everything", Password: "s3cret"}, everyRole...)
	users.add(t, auth.Credentials{Username: "but admin", Password: "s3cret"}, everyRole[1:]...)
	users.add(t, auth.Credentials{Username: "but operations", Password: "s3cret"}, everyRole[2:]...)
	users.add(t, auth.Credentials{Username: "foreign", Password: "s3cret"}, "read", "superuser", "Admin", ":", "read:",
		"admin:orders:x")
	node := newNode(t, users)
	token := func(username string) string { return issue(t, node, basic(username+":s3cret")) }
	find := func(name string) protoreflect.MethodDescriptor {
		all := methods(t)
		return all[slices.IndexFunc(all, func(m protoreflect.MethodDescriptor) bool { return fullName(m) == name })]
	}
	for _, c := range []struct{ user, method, boundary string }{
		{"everything", "/orisun.EventStore/SaveEvents", adminBoundary}, // an event of a user would be forged
		{"but operations", "/orisun.EventStore/GetEvents", adminBoundary},
		{"but operations", "/orisun.EventStore/GetLatestByCriteria", adminBoundary},
		{"but operations", "/orisun.EventStore/CatchUpSubscribeToEvents", adminBoundary},
		{"but operations", "/orisun.EventStore/Explain", adminBoundary},
		{"but admin", "/orisun.EventStore/SaveEvents", adminBoundary},
		{"but admin", "/orisun.EventStore/CreateIndex", adminBoundary},
		{"but admin", "/orisun.Admin/CreateUser", ""},
		{"but admin", "/orisun.Admin/ChangeUserRoles", ""},
		{"but admin", "/orisun.Admin/SetUserBoundaryPermissions", ""},
		{"but admin", "/orisun.Admin/DeleteUser", ""},
		{"but admin", "/orisun.Admin/CreateBoundary", ""},
		{"foreign", "/orisun.EventStore/GetEvents", "orders"},
		{"foreign", "/orisun.EventStore/SaveEvents", ""},
		{"foreign", "/orisun.Admin/ListUsers", ""},
	} {
		method := find(c.method)
		in, _ := request(t, method, c.boundary)
		if try(t, node, token(c.user), method, in) {
			t.Errorf("%s may call %s in %q", c.user, c.method, c.boundary)
		}
	}
}

func TestAnRPCWithoutARowIsRefused(t *testing.T) {
	users := newDirectory(t, randomKey(), admin)
	node := newNode(t, users)
	ctx := grpc.NewContextWithServerTransportStream(incoming("x-auth-token", issue(t, node, basic("admin:changeit"))),
		&transportStream{})
	_, err := node.UnaryInterceptor(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/orisun.Admin/Whatever"}, nothing)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("an admin calls what has no row: %v", err)
	}
	// In other words: an admin may call each RPC there is, but for saves into the admin boundary.
	for _, method := range methods(t) {
		in, _ := request(t, method, ownBoundary)
		if !try(t, node, issue(t, node, basic("admin:changeit")), method, in) {
			t.Errorf("%s has no row in rights.go, or one that shuts admins out", fullName(method))
		}
	}
}

func TestTheErrorNamesTheRightThatIsMissing(t *testing.T) {
	users := newDirectory(t, randomKey())
	users.add(t, auth.Credentials{Username: "joe", Password: "s3cret"}, "read:orders")
	node := newNode(t, users)
	ctx := grpc.NewContextWithServerTransportStream(incoming("x-auth-token", issue(t, node, basic("joe:s3cret"))),
		&transportStream{})
	for _, c := range []struct {
		method string
		in     any
		wants  []string
	}{
		{
			"/orisun.EventStore/SaveEvents", &orisunpb.SaveEventsRequest{Boundary: "orders"},
			[]string{`"joe"`, "save events", `"orders"`, "write:orders"},
		},
		{"/orisun.EventStore/SaveEvents", &orisunpb.SaveEventsRequest{Boundary: adminBoundary}, []string{"no role has it"}},
		{
			"/orisun.EventStore/GetEvents", &orisunpb.GetEventsRequest{Boundary: adminBoundary},
			[]string{"read events", "these roles have it: admin, operations"},
		},
		{
			"/orisun.EventStore/CreateIndex", &orisunpb.CreateIndexRequest{Boundary: adminBoundary},
			[]string{"indexes", "role admin has it"},
		},
		{
			"/orisun.Admin/GetEventCount", &orisunpb.GetEventCountRequest{Boundary: adminBoundary},
			[]string{"these roles have it: admin, operations"},
		},
		{"/orisun.Admin/CreateUser", &orisunpb.CreateUserRequest{}, []string{"administer users", "role admin has it"}},
		{"/orisun.Admin/ListBoundaries", &orisunpb.ListBoundariesRequest{}, []string{"inspect", "admin, operations"}},
	} {
		_, err := node.UnaryInterceptor(ctx, c.in, &grpc.UnaryServerInfo{FullMethod: c.method}, nothing)
		for _, want := range c.wants {
			if !strings.Contains(status.Convert(err).Message(), want) {
				t.Errorf("%s: %v, want %q in it", c.method, err, want)
			}
		}
	}
}

func TestRolesAreReadWithoutRegardToCaseButForTheBoundary(t *testing.T) {
	for given, want := range map[string]string{
		"ADMIN": "admin", "Operations": "operations", "user": "user", "READ:Orders": "read:Orders",
		"write:a-b_1": "write:a-b_1", "Admin:orders": "admin:orders",
	} {
		if got, err := auth.ParseRole(given); err != nil || got != want {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
	for _, given := range []string{
		"", "root", "admin ", "read", "read:", "user:orders", "operations:orders", "read:1x", "read:a:b", "read:*",
		"write:" + strings.Repeat("a", 27), ":orders",
	} {
		if got, err := auth.ParseRole(given); err == nil {
			t.Errorf("%q is taken for %q", given, got)
		}
	}
}

func FuzzARoleThatIsTakenIsTakenTheSameAgain(f *testing.F) {
	f.Add("READ:orders")
	f.Fuzz(func(t *testing.T, role string) {
		once, err := auth.ParseRole(role)
		if err != nil {
			return
		}
		if twice, err := auth.ParseRole(once); err != nil || twice != once {
			t.Errorf("%q: %q, then %q, %v", role, once, twice, err)
		}
	})
}

// A subscription is refused its next message as soon as its user is.
func TestASubscriptionEndsWithItsUser(t *testing.T) {
	users := newDirectory(t, randomKey(), admin)
	node := newNode(t, users)
	token := issue(t, node, basic("admin:changeit"))
	stream := &serverStream{
		ctx: incoming("x-auth-token", token), in: &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "orders"},
	}
	info := &grpc.StreamServerInfo{FullMethod: "/orisun.EventStore/CatchUpSubscribeToEvents"}
	err := node.StreamInterceptor(nil, stream, info, func(_ any, stream grpc.ServerStream) error {
		if err := stream.SendMsg(&orisunpb.Event{EventId: "before"}); err != nil {
			return err
		}
		users.remove("admin")
		settled(t, node)
		return stream.SendMsg(&orisunpb.Event{EventId: "after"})
	})
	if !isUnauthenticated(err) || len(stream.sent) != 1 {
		t.Errorf("%v, after %d messages", err, len(stream.sent))
	}
}

// serverStream is the connection of a stream where there is none: one request comes in, and responses are stored.
type serverStream struct {
	grpc.ServerStream
	ctx  context.Context
	in   proto.Message
	sent []any
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) SetHeader(metadata.MD) error { return nil }

func (s *serverStream) SendMsg(message any) error {
	s.sent = append(s.sent, message)
	return nil
}

func (s *serverStream) RecvMsg(message any) error {
	proto.Merge(message.(proto.Message), s.in)
	return nil
}
