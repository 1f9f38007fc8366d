package auth_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/service/auth"
)

// from makes a call from an address.
func from(authenticator *auth.Authenticator, address string, sent ...string) error {
	ctx := grpc.NewContextWithServerTransportStream(incoming(sent...), &transportStream{})
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
	_, err := authenticator.UnaryInterceptor(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/orisun.EventStore/Ping"}, nothing)
	return err
}

// retryAfter is how long a refusal asks to wait, 0 where it does not.
func retryAfter(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// guess makes wrong logins at once, and tells how many were tried and how long the others were asked to wait at most.
func guess(t *testing.T, count int, login func(int) error) (tried int, wait time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var guessers sync.WaitGroup
	for i := range count {
		guessers.Go(func() {
			err := login(i)
			mu.Lock()
			defer mu.Unlock()
			switch status.Code(err) {
			case codes.Unauthenticated:
				tried++
			case codes.ResourceExhausted:
				wait = max(wait, retryAfter(err))
			default:
				t.Error(err)
			}
		})
	}
	guessers.Wait()
	return tried, wait
}

func TestWrongPasswordsSlowDownTheirUserAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin, auth.Credentials{Username: "joe", Password: "s3cret"})
		node := newNode(t, users)
		token := issue(t, node, basic("admin:changeit"))

		tried, asked := guess(t, 10_000, func(i int) error {
			return from(node, fmt.Sprintf("10.0.%d.%d", i/250, i%250), "authorization", basic(fmt.Sprintf("admin:guess%d", i)))
		})
		if tried > 10 || asked <= 0 || asked > 5*time.Second {
			t.Errorf("%d of 10,000 guesses at once were tried, the others asked to wait for at most %s", tried, asked)
		}
		if _, err := call(node, "x-auth-token", token); err != nil {
			t.Errorf("the user's token: %v", err)
		}
		if err := from(node, "192.0.2.1", "authorization", basic("admin:changeit")); err != nil {
			t.Errorf("the user's password, shown before: %v", err)
		}
		issue(t, node, basic("joe:s3cret"))
		if err := from(newNode(t, users), "192.0.2.1", "authorization", basic("admin:changeit")); err != nil {
			t.Errorf("on another node: %v", err)
		}
	})
}

func TestAnAddressThatGuessesManyUsersIsSlowedDownAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin)
		for i := range 80 {
			users.add(t, auth.Credentials{Username: fmt.Sprint("user", i), Password: "s3cret"}, auth.RoleUser)
		}
		node := newNode(t, users)
		tried, start := 0, time.Now()
		for i := range 80 { // one after the other, as a loop does; one customer has a whole /64 network
			more, _ := guess(t, 1, func(int) error {
				return from(node, fmt.Sprintf("2001:db8::%x", i), "authorization", basic(fmt.Sprintf("user%d:guess", i)))
			})
			tried += more
		}
		if most := 50 + int(time.Since(start)/time.Second); tried > most || time.Since(start) < 25*time.Second {
			t.Errorf("%d of 80 guesses were tried, in %s", tried, time.Since(start))
		}
		if err := from(node, "2001:db8:0:1::1", "authorization", basic("admin:changeit")); err != nil {
			t.Errorf("another network: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := from(node, "2001:db8::1", "authorization", basic("someone:s3cret")); !isUnauthenticated(err) {
			t.Errorf("two seconds later: %v", err)
		}
	})
}

func TestRightCredentialsFromManyCallersAtOnceAreHashedOnce(t *testing.T) {
	users := newDirectory(t, randomKey(), admin)
	node := newNode(t, users)
	var callers sync.WaitGroup
	var failed atomic.Int32
	for range 500 {
		callers.Go(func() {
			if err := from(node, "127.0.0.1", "authorization", basic("admin:changeit")); err != nil {
				failed.Add(1)
			}
		})
	}
	callers.Wait()
	if _, looked := users.questions(); failed.Load() > 0 || looked > 20 {
		t.Errorf("%d of 500 callers failed, %d logins", failed.Load(), looked)
	}
}

// What is compared is the processor's time of a whole login, of which bcrypt takes nearly all: it must not be spared where there is no user.
// Time on the clock would tell how busy the machine is.
func TestTheCostOfALoginDoesNotTellWhetherTheUserExists(t *testing.T) {
	users := newDirectory(t, randomKey())
	hash, err := auth.Hash("changeit") // as costly as real ones
	if err != nil {
		t.Fatal(err)
	}
	users.add(t, admin, auth.RoleAdmin)
	users.users[0].PasswordHash = hash
	node := newNode(t, users)
	login := func(username string, i int) time.Duration {
		t.Helper()
		before := processorTime(t)
		if _, err := node.Verify(context.Background(), auth.Credentials{Username: username, Password: fmt.Sprint("wrong", i)}); !isUnauthenticated(err) {
			t.Fatal(err)
		}
		return processorTime(t) - before
	}
	login("nobody", -1) // what is made once, is made now
	var known, unknown time.Duration
	for i := range 4 {
		known += login("admin", i)
		unknown += login("nobody", i)
	}
	if unknown < known/2 || unknown > known*2 {
		t.Errorf("wrong passwords cost %s, wrong usernames %s", known, unknown)
	}
}

// processorTime is what this process has used of the processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
