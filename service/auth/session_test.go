package auth_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// begin returns the token of a new session.
func begin(t *testing.T, node *auth.Authenticator, credentials string) string {
	t.Helper()
	token, ok := node.BeginSession(issue(t, node, basic(credentials)))
	if !ok {
		t.Fatal("a valid token gets no session")
	}
	return token
}

func TestALogoutVoidsEveryTokenOfItsSessionAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		here, there := newNode(t, users), newNode(t, users)
		first, other := begin(t, here, "admin:changeit"), begin(t, here, "admin:changeit")
		if first == other {
			t.Fatal("two sessions share a token")
		}
		if again, ok := here.BeginSession(first); !ok || again != first {
			t.Errorf("the token of a session became %q, %t", again, ok)
		}
		time.Sleep(time.Hour * 3 / 4) // the bubble's clock; tokens are valid for an hour
		renewed, err := call(there, "x-auth-token", first)
		if err != nil || renewed == first {
			t.Fatalf("renewed to %q, %v", renewed, err)
		}
		plain := issue(t, here, basic("admin:changeit"))
		stream := &serverStream{
			ctx: incoming("x-auth-token", renewed), in: &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "orders"},
		}
		info := &grpc.StreamServerInfo{FullMethod: "/orisun.EventStore/CatchUpSubscribeToEvents"}
		err = there.StreamInterceptor(nil, stream, info, func(_ any, stream grpc.ServerStream) error {
			if err := stream.SendMsg(&orisunpb.Event{EventId: "before"}); err != nil {
				return err
			}
			if err := here.EndSession(t.Context(), first, &net.TCPAddr{}); err != nil {
				t.Error(err)
			}
			return stream.SendMsg(&orisunpb.Event{EventId: "after"})
		})
		if !isUnauthenticated(err) || len(stream.sent) != 1 {
			t.Errorf("a stream of the session: %v, after %d messages", err, len(stream.sent))
		}
		for name, node := range map[string]*auth.Authenticator{"here": here, "there": there} {
			for what, token := range map[string]string{"copied": first, "renewed": renewed} {
				if _, err := call(node, "x-auth-token", token); !isUnauthenticated(err) {
					t.Errorf("the %s token, %s: %v", what, name, err)
				}
			}
			for what, token := range map[string]string{"session": other, "token without a session": plain} {
				if _, err := call(node, "x-auth-token", token); err != nil {
					t.Errorf("another %s, %s: %v", what, name, err)
				}
			}
		}
		for _, token := range []string{first, plain, "forged", ""} { // none has a session to end
			if err := here.EndSession(t.Context(), token, &net.TCPAddr{}); err != nil {
				t.Errorf("end the session of %q: %v", token, err)
			}
		}
		if _, err := call(here, "x-auth-token", plain); err != nil {
			t.Errorf("a token without a session after its logout: %v", err)
		}
		if token, ok := here.BeginSession("forged"); ok {
			t.Errorf("a forged token got the session %q", token)
		}
	})
}

// An ended session is stored for twice the lifetime of tokens, so that one which was issued under a longer lifetime
// must not come back when its row is gone.
func TestALoweredLifetimeHoldsForTokensIssuedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		before, err := auth.New(users, adminBoundary, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		after, err := auth.New(users, adminBoundary, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		ended := begin(t, before, "admin:changeit")
		others := map[string]string{
			"the token of an open session": begin(t, before, "admin:changeit"),
			"a token without a session":    issue(t, before, basic("admin:changeit")),
		}
		if err := after.EndSession(t.Context(), ended, &net.TCPAddr{}); err != nil {
			t.Fatal(err)
		}
		for what, token := range others {
			if _, err := call(after, "x-auth-token", token); err != nil {
				t.Errorf("%s when the lifetime is lowered: %v", what, err)
			}
		}
		others["the token of an ended session"] = ended
		for hours := 1; hours < 25; hours++ {
			time.Sleep(time.Hour) // the bubble's clock
			for what, token := range others {
				if _, err := call(after, "x-auth-token", token); !isUnauthenticated(err) {
					t.Errorf("%s is valid after %d hours: %v", what, hours, err)
				}
			}
		}
	})
}
