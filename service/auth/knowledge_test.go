package auth_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/service/auth"
)

// settled is when an RPC that changes a user has answered: the old login is invalid on every node.
func settled(t *testing.T, authenticator *auth.Authenticator) {
	t.Helper()
	if err := authenticator.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAChangeIsInForceOnEveryNodeWhenItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, joe := randomKey(), auth.Credentials{Username: "joe", Password: "s3cret"}
		users := newDirectory(t, key, admin, joe)
		here, there := newNode(t, users), newNode(t, users)
		token := issue(t, there, basic("joe:s3cret"))

		users.remove("joe")
		if err := here.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, node := range map[string]*auth.Authenticator{"here": here, "there": there} {
			for what, sent := range map[string][]string{
				"token": {"x-auth-token", token}, "password": {"authorization", basic("joe:s3cret")},
			} {
				if _, err := call(node, sent...); !isUnauthenticated(err) {
					t.Errorf("the %s of a user who was deleted, %s: %v", what, name, err)
				}
			}
		}

		users.add(t, auth.Credentials{Username: "joe", Password: "another"}, auth.RoleUser)
		for name, node := range map[string]*auth.Authenticator{"here": here, "there": there} {
			issue(t, node, basic("joe:another")) // at once: no call waits for a new user
			if _, err := call(node, "x-auth-token", token); !isUnauthenticated(err) {
				t.Errorf("the token of another user of that name, %s: %v", name, err)
			}
			if _, err := call(node, "authorization", basic("joe:s3cret")); !isUnauthenticated(err) {
				t.Errorf("the password of another user of that name, %s: %v", name, err)
			}
		}
	})
}

// Else a client that sends the password with every call would get the invalid token from before the change.
func TestATokenFromBeforeAChangeIsNotIssuedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joe := auth.Credentials{Username: "joe", Password: "s3cret"}
		users := newDirectory(t, randomKey(), joe)
		node := newNode(t, users)
		issue(t, node, basic("joe:s3cret"))
		users.remove("joe")
		users.add(t, joe, auth.RoleUser)
		settled(t, node)
		if _, err := call(node, "x-auth-token", issue(t, node, basic("joe:s3cret"))); err != nil {
			t.Errorf("the token of the user whose roles changed: %v", err)
		}
	})
}

// A login takes a while, and those that come meanwhile with the same credentials wait for it: not when the user was
// looked up before a change.
func TestALoginFromBeforeAChangeIsInvalidAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joe := auth.Credentials{Username: "joe", Password: "s3cret"}
		users := newDirectory(t, randomKey(), admin, joe)
		users.delay = make(chan struct{})
		node := newNode(t, users)
		login := func() chan error {
			outcome := make(chan error, 1)
			go func() { outcome <- from(node, "192.0.2.1", "authorization", basic("joe:s3cret")) }()
			synctest.Wait() // it has been looked up, or waits for its turn
			return outcome
		}
		validate := func() chan error {
			outcome := make(chan error, 1)
			go func() {
				_, err := node.Verify(context.Background(), joe)
				outcome <- err
			}()
			synctest.Wait()
			return outcome
		}
		before := login()
		users.remove("joe")
		settled(t, node)
		after, validated := login(), validate()
		close(users.delay)
		if err := <-before; err != nil {
			t.Errorf("a login from before the deletion: %v", err)
		}
		for what, outcome := range map[string]chan error{
			"a login": after, "a validation": validated, "the next login": login(),
		} {
			if err := <-outcome; !isUnauthenticated(err) {
				t.Errorf("%s after the deletion: %v", what, err)
			}
		}
	})
}

func TestCallsDoNotQueryTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		node := newNode(t, users)
		token := issue(t, node, basic("admin:changeit"))
		_, before := users.queries()
		for range 10_000 {
			time.Sleep(time.Millisecond)
			for _, sent := range [][]string{{"x-auth-token", token}, {"authorization", basic("admin:changeit")}} {
				if _, err := call(node, sent...); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		state, after := users.queries()
		if most := 10*int(time.Second/auth.Trust)*2 + 2; state > most || after != before {
			t.Errorf("20,000 calls in 10 s asked %d times for the state, at most %d are meant, and %d times for the user",
				state, most, after-before)
		}
	})
}

func TestACallWaitsWhileTheDatabaseIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		node := newNode(t, users)
		token := issue(t, node, basic("admin:changeit"))

		users.fail(status.Error(codes.Unavailable, "PostgreSQL does not answer"))
		settled(t, node)
		time.AfterFunc(20*time.Second, func() { users.fail(nil) })
		if _, err := call(node, "x-auth-token", token); err != nil {
			t.Errorf("a call during an outage of 20 s: %v", err)
		}

		users.fail(status.Error(codes.Unavailable, "PostgreSQL does not answer"))
		settled(t, node)
		start := time.Now()
		if _, err := call(node, "x-auth-token", token); status.Code(err) != codes.Unavailable ||
			time.Since(start) > 2*time.Minute {
			t.Errorf("a call during an outage without end: %v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(incoming("x-auth-token", token), time.Second)
		defer cancel()
		_, err := node.UnaryInterceptor(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/orisun.EventStore/Ping"}, nothing)
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a call with a deadline: %v", err)
		}
	})
}

func TestARotatedKeyIsTakenByEveryNodeAndTwoRotationsEndAllTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		here, there := newNode(t, users), newNode(t, users)
		old := issue(t, here, basic("admin:changeit"))
		issue(t, there, basic("admin:changeit"))

		users.rotate(randomKey())
		for range 10 { // at whatever moment the nodes notice, neither refuses what the other signs
			time.Sleep(auth.Trust / 5)
			for from, to := range map[*auth.Authenticator]*auth.Authenticator{here: there, there: here} {
				if _, err := call(to, "x-auth-token", issue(t, from, basic("admin:changeit"))); err != nil {
					t.Errorf("a token of the other node: %v", err)
				}
			}
		}
		renewed, err := call(here, "x-auth-token", old)
		if err != nil || renewed == old {
			t.Errorf("a token under the key before is not renewed: %v", err)
		}

		users.rotate(randomKey())
		time.Sleep(auth.Trust)
		if _, err := call(there, "x-auth-token", old); !isUnauthenticated(err) {
			t.Errorf("a token under a key that is gone: %v", err)
		}
		if _, err := call(there, "x-auth-token", renewed); err != nil {
			t.Errorf("a renewed token: %v", err)
		}
	})
}

func newNode(t *testing.T, users *directory) *auth.Authenticator {
	t.Helper()
	node, err := auth.New(users, adminBoundary, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return node
}
