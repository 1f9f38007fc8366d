package auth_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

var admin = auth.Credentials{Username: "admin", Password: "changeit"}

func TestCallerWithPasswordIsLetIn(t *testing.T) {
	for _, c := range []struct {
		name          string
		configured    auth.Credentials
		authorization string
	}{
		{"as grpcurl in the specification sends it", admin, "Basic YWRtaW46Y2hhbmdlaXQ="},
		{"scheme in lower case", admin, "basic YWRtaW46Y2hhbmdlaXQ="},
		{"scheme in capitals", admin, "BASIC YWRtaW46Y2hhbmdlaXQ="},
		{"more spaces", admin, "Basic   YWRtaW46Y2hhbmdlaXQ= "},
		{"password with colons", auth.Credentials{Username: "admin", Password: ":a::b:"}, basic("admin::a::b:")},
		{"Unicode", auth.Credentials{Username: "jürgen", Password: "пароль 🔑"}, basic("jürgen:пароль 🔑")},
		{"not UTF-8", auth.Credentials{Username: "admin", Password: "\xff\x00"}, basic("admin:\xff\x00")},
		{
			"long",
			auth.Credentials{Username: strings.Repeat("a", 256), Password: strings.Repeat("b", 72)},
			basic(strings.Repeat("a", 256) + ":" + strings.Repeat("b", 72)),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := serve(t, newAuthenticator(t, c.configured, randomKey()))
			first := client.wantLetIn(t, c.configured.Username, "authorization", c.authorization)
			client.wantLetIn(t, c.configured.Username, "x-auth-token", first)
		})
	}
}

func TestCallerWithoutValidCredentialsLearnsOnlyHowToAuthenticate(t *testing.T) {
	key := randomKey()
	client := serve(t, newAuthenticator(t, admin, key))
	token := client.wantLetIn(t, "admin", "authorization", basic("admin:changeit"))
	otherKey := issue(t, newAuthenticator(t, admin, randomKey()), basic("admin:changeit"))
	goneUser := issue(t, newAuthenticator(t, auth.Credentials{Username: "root", Password: "x"}, key), basic("root:x"))

	for _, c := range []struct {
		name string
		sent []string
	}{
		{"nothing", nil},
		{"empty", []string{"authorization", "", "x-auth-token", ""}},
		{"scheme alone", []string{"authorization", "Basic"}},
		{"scheme and a space", []string{"authorization", "Basic "}},
		{"no scheme", []string{"authorization", "YWRtaW46Y2hhbmdlaXQ="}},
		{"another scheme", []string{"authorization", "Bearer YWRtaW46Y2hhbmdlaXQ="}},
		{"not base64", []string{"authorization", "Basic admin:changeit"}},
		{"base64 without padding", []string{"authorization", "Basic YWRtaW46Y2hhbmdlaXQ"}},
		{"no colon", []string{"authorization", basic("adminchangeit")}},
		{"only a colon", []string{"authorization", basic(":")}},
		{"wrong username", []string{"authorization", basic("root:changeit")}},
		{"no username", []string{"authorization", basic(":changeit")}},
		{"username in capitals", []string{"authorization", basic("Admin:changeit")}},
		{"wrong password", []string{"authorization", basic("admin:changeme")}},
		{"no password", []string{"authorization", basic("admin:")}},
		{"beginning of the password", []string{"authorization", basic("admin:change")}},
		{"a password longer than bcrypt looks at", []string{"authorization", basic("admin:" + strings.Repeat("b", 5000))}},
		{"password and a newline", []string{"authorization", basic("admin:changeit\n")}},
		{"swapped", []string{"authorization", basic("changeit:admin")}},
		{"colon elsewhere", []string{"authorization", basic("admi:n:changeit")}},
		{
			"the right one after a wrong one",
			[]string{"authorization", basic("admin:changeme"), "authorization", basic("admin:changeit")},
		},
		{"token as password", []string{"authorization", basic("admin:" + token)}},
		{"token as authorization", []string{"authorization", "Basic " + token}},
		{"password as token", []string{"x-auth-token", basic("admin:changeit")}},
		{"random token", []string{"x-auth-token", "Zm9yZ2Vk"}},
		{"not a base64 token", []string{"x-auth-token", "*"}},
		{"padded token", []string{"x-auth-token", token + "="}},
		{"huge token", []string{"x-auth-token", strings.Repeat("A", 100_000)}},
		{"token under another key", []string{"x-auth-token", otherKey}},
		{"token of a user who is gone", []string{"x-auth-token", goneUser}},
		{"forged token with a wrong password", []string{"x-auth-token", otherKey, "authorization", basic("admin:changeme")}},
	} {
		t.Run(c.name, func(t *testing.T) { serve(t, newAuthenticator(t, admin, key)).wantRefused(t, c.sent...) })
	}
	client.wantLetIn(t, "admin", "x-auth-token", token)
}

func TestForgedTokenIsRefused(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, username := range []string{"admin", "root", "joe"} { // their tokens end in 0, 2 and 4 unused bits
		authenticator := newAuthenticator(t, auth.Credentials{Username: username, Password: "x"}, randomKey())
		token := issue(t, authenticator, basic(username+":x"))

		forgeries := []string{token + "A", token + token, "AAAA" + token}
		for at := range len(token) {
			forgeries = append(forgeries, token[:at])
			for _, char := range []byte(alphabet) {
				if char != token[at] {
					forgeries = append(forgeries, token[:at]+string(char)+token[at+1:])
				}
			}
		}
		for _, forged := range forgeries {
			if _, err := call(authenticator, "x-auth-token", forged); !isUnauthenticated(err) {
				t.Errorf("%s in place of %s: %v", forged, token, err)
			}
		}
	}
}

func TestTokenStandsInForThePassword(t *testing.T) {
	key := randomKey()
	client := serve(t, newAuthenticator(t, admin, key))
	password := basic("admin:changeit")
	token := client.wantLetIn(t, "admin", "authorization", password)
	forged := issue(t, newAuthenticator(t, admin, randomKey()), password)
	gone := issue(t, newAuthenticator(t, auth.Credentials{Username: "root", Password: "x"}, key), basic("root:x"))

	for _, c := range []struct {
		name string
		sent []string
		same bool // the token comes back as it is
	}{
		{"token alone", []string{"x-auth-token", token}, true},
		{"token and password", []string{"x-auth-token", token, "authorization", password}, true},
		{"token and a wrong password", []string{"x-auth-token", token, "authorization", basic("admin:changeme")}, true},
		{"token and a malformed password", []string{"x-auth-token", token, "authorization", "?"}, true},
		{"forged token and password", []string{"x-auth-token", forged, "authorization", password}, false},
		{"token of a user who is gone and password", []string{"x-auth-token", gone, "authorization", password}, false},
		{"malformed token and password", []string{"x-auth-token", "?", "authorization", password}, false},
		{"empty token and password", []string{"x-auth-token", "", "authorization", password}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := client.wantLetIn(t, "admin", c.sent...)
			if same := answer == c.sent[1]; same != c.same {
				t.Errorf("the same token came back: %v, wanted %v", same, c.same)
			}
			client.wantLetIn(t, "admin", "x-auth-token", answer)
		})
	}
}

func TestServersWithOneKeyAcceptEachOthersTokens(t *testing.T) {
	key := randomKey()
	token := serve(t, newAuthenticator(t, admin, key)).wantLetIn(t, "admin", "authorization", basic("admin:changeit"))
	serve(t, newAuthenticator(t, admin, key)).wantLetIn(t, "admin", "x-auth-token", token)
}

func TestFailedCallAnswersWithATokenToo(t *testing.T) {
	client := serve(t, newAuthenticator(t, admin, randomKey()))
	var header metadata.MD
	_, err := client.SaveEvents(outgoing(t, "authorization", basic("admin:changeit")), &orisunpb.SaveEventsRequest{},
		grpc.Header(&header))
	if status.Code(err) != codes.AlreadyExists {
		t.Fatalf("error %v, wanted the handler's", err)
	}
	client.wantLetIn(t, "admin", "x-auth-token", only(t, header))
}

func TestHealthAndReflectionAreOpen(t *testing.T) {
	client := serve(t, newAuthenticator(t, admin, randomKey()))
	for _, sent := range [][]string{nil, {"authorization", basic("admin:wrong"), "x-auth-token", "wrong"}} {
		answer, err := grpc_health_v1.NewHealthClient(client.conn).Check(outgoing(t, sent...),
			&grpc_health_v1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health with %v: %v, %v", sent, answer, err)
		}
		watch, err := grpc_health_v1.NewHealthClient(client.conn).Watch(outgoing(t, sent...),
			&grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := watch.Recv(); err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("watching health with %v: %v, %v", sent, answer, err)
		}
		info, err := grpc_reflection_v1.NewServerReflectionClient(client.conn).ServerReflectionInfo(outgoing(t, sent...))
		if err != nil {
			t.Fatal(err)
		}
		if err := info.Send(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
		}); err != nil {
			t.Fatal(err)
		}
		if answer, err := info.Recv(); err != nil || len(answer.GetListServicesResponse().GetService()) == 0 {
			t.Errorf("reflection with %v: %v, %v", sent, answer, err)
		}
	}
}

// A name that merely looks like an open service's must not open another one.
func TestOnlyHealthAndReflectionAreOpen(t *testing.T) {
	authenticator := newAuthenticator(t, admin, randomKey())
	for method, open := range map[string]bool{
		"/grpc.health.v1.Health/Check":                                   true,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
		"/orisun.EventStore/Ping":                                        false,
		"/orisun.Admin/CreateUser":                                       false,
		"/grpc.health.v1.HealthAdmin/Stop":                               false,
		"/grpc.reflectionist.X/Y":                                        false,
		"/orisun.Admin/grpc.health.v1.Health/Check":                      false,
		"grpc.health.v1.Health/Check":                                    false,
		"":                                                               false,
	} {
		_, err := authenticator.UnaryInterceptor(incoming(), nil, &grpc.UnaryServerInfo{FullMethod: method}, nothing)
		if (err == nil) != open {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestTokenSlidesAndExpires(t *testing.T) {
	const ttl = time.Hour
	synctest.Test(t, func(t *testing.T) {
		authenticator, err := auth.New(newDirectory(t, randomKey(), admin), adminBoundary, ttl)
		if err != nil {
			t.Fatal(err)
		}
		use := func(token string) string {
			t.Helper()
			answer, err := call(authenticator, "x-auth-token", token)
			if err != nil {
				t.Fatalf("at %s: %v", time.Now(), err)
			}
			return answer
		}
		first := issue(t, authenticator, basic("admin:changeit"))

		time.Sleep(ttl / 2) // the bubble's clock
		if use(first) != first {
			t.Error("renewed with half of its life left")
		}
		time.Sleep(time.Nanosecond)
		second := use(first)
		if second == first {
			t.Fatal("not renewed with less than half of its life left")
		}
		time.Sleep(ttl/2 - 2*time.Nanosecond) // the first one has 1 ns left
		use(first)
		time.Sleep(time.Nanosecond)
		if _, err := call(authenticator, "x-auth-token", first); !isUnauthenticated(err) {
			t.Errorf("the expired token: %v", err)
		}
		if answer, err := call(authenticator, "x-auth-token", first, "authorization", basic("admin:changeit")); err != nil ||
			answer == first {
			t.Errorf("the expired token with the password: %v, %v", answer, err)
		}
		// A client that keeps calling never sends the password a second time.
		for range 100 {
			time.Sleep(ttl / 4)
			second = use(second)
		}
		time.Sleep(ttl)
		if _, err := call(authenticator, "x-auth-token", second); !isUnauthenticated(err) {
			t.Errorf("the token of a caller who went away: %v", err)
		}
	})
}

func TestAPasswordWithEveryCallGetsTheSameTokenWhileItIsNew(t *testing.T) {
	const ttl = time.Hour
	synctest.Test(t, func(t *testing.T) {
		authenticator, err := auth.New(newDirectory(t, randomKey(), admin), adminBoundary, ttl)
		if err != nil {
			t.Fatal(err)
		}
		first := issue(t, authenticator, basic("admin:changeit"))
		time.Sleep(ttl / 100)
		if issue(t, authenticator, basic("admin:changeit")) != first {
			t.Error("another one in the first hundredth of its life")
		}
		time.Sleep(time.Nanosecond)
		second := issue(t, authenticator, basic("admin:changeit"))
		if second == first {
			t.Error("the same one later on")
		}
		time.Sleep(ttl - time.Nanosecond)
		if _, err := call(authenticator, "x-auth-token", second); err != nil {
			t.Errorf("the later one does not have a whole life: %v", err)
		}
	})
}

// Callers share what computes signatures; a mix-up would let the wrong ones in and keep the right ones out.
func TestConcurrentCallersDoNotDisturbEachOther(t *testing.T) {
	authenticator := newAuthenticator(t, admin, randomKey())
	token := issue(t, authenticator, basic("admin:changeit"))
	forged := issue(t, newAuthenticator(t, admin, randomKey()), basic("admin:changeit"))
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 200 {
				if answer, err := call(authenticator, "x-auth-token", token); err != nil || answer != token {
					t.Errorf("own token: %q, %v", answer, err)
				}
				if _, err := call(authenticator, "x-auth-token", forged); !isUnauthenticated(err) {
					t.Errorf("forged token: %v", err)
				}
			}
		})
	}
	callers.Wait()
}

func TestTokensThatAreNeverValidAreRefused(t *testing.T) {
	if _, err := auth.New(newDirectory(t, randomKey(), admin), adminBoundary, -time.Second); err == nil ||
		!strings.Contains(err.Error(), "-1s") {
		t.Errorf("error %v", err)
	}
}

func FuzzUnknownTokenIsRefused(f *testing.F) {
	authenticator := newAuthenticator(f, admin, randomKey())
	f.Add(issue(f, newAuthenticator(f, admin, randomKey()), basic("admin:changeit")))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := call(authenticator, "x-auth-token", token); !isUnauthenticated(err) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func BenchmarkInterceptor(b *testing.B) {
	authenticator := newAuthenticator(b, admin, randomKey())
	for name, sent := range map[string][]string{
		"token":   {"x-auth-token", issue(b, authenticator, basic("admin:changeit"))},
		"basic":   {"authorization", basic("admin:changeit")},
		"guessed": {"authorization", basic("admin:wrong")},
	} {
		ctx := grpc.NewContextWithServerTransportStream(incoming(sent...), &transportStream{})
		b.Run(name, func(b *testing.B) {
			for name == "guessed" { // until it is refused
				if _, err := call(authenticator, sent...); status.Code(err) == codes.ResourceExhausted {
					break
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					_, err := authenticator.UnaryInterceptor(ctx, nil,
						&grpc.UnaryServerInfo{FullMethod: "/orisun.EventStore/Ping"}, nothing)
					if (err != nil) != (name == "guessed") {
						b.Error(err)
					}
				}
			})
		})
	}
}

func randomKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never returns an error
	return key
}

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// newAuthenticator knows one user.
func newAuthenticator(t testing.TB, user auth.Credentials, key []byte) *auth.Authenticator {
	t.Helper()
	authenticator, err := auth.New(newDirectory(t, key, user), adminBoundary, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authenticator
}

func isUnauthenticated(err error) bool { return status.Code(err) == codes.Unauthenticated }

// call takes one call through the interceptor without a network, which a synctest bubble could not wait for, and
// returns the answer's token.
func call(authenticator *auth.Authenticator, sent ...string) (token string, err error) {
	stream := &recordingStream{}
	ctx := grpc.NewContextWithServerTransportStream(incoming(sent...), stream)
	_, err = authenticator.UnaryInterceptor(ctx, nil,
		&grpc.UnaryServerInfo{FullMethod: "/orisun.EventStore/Ping"}, nothing)
	return strings.Join(stream.header.Get("x-auth-token"), " and "), err
}

func issue(t testing.TB, authenticator *auth.Authenticator, authorization string) string {
	t.Helper()
	token, err := call(authenticator, "authorization", authorization)
	if err != nil || token == "" {
		t.Fatalf("token %q, %v", token, err)
	}
	return token
}

func incoming(sent ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(sent...))
}

func outgoing(t *testing.T, sent ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(sent...))
}

func nothing(context.Context, any) (any, error) { return nil, nil }

// transportStream stands for the connection where there is none; recordingStream keeps what would be sent.
type transportStream struct{ grpc.ServerTransportStream }

func (*transportStream) SetHeader(metadata.MD) error { return nil }

type recordingStream struct {
	grpc.ServerTransportStream
	header metadata.MD
}

func (r *recordingStream) SetHeader(header metadata.MD) error {
	r.header = metadata.Join(r.header, header)
	return nil
}
