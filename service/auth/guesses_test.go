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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/oexza/orisun/service/auth"
)

// from makes a call from an address.
func from(authenticator *auth.Authenticator, address string, sent ...string) error {
	ctx := grpc.NewContextWithServerTransportStream(incoming(sent...), &transportStream{})
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
	_, err := authenticator.UnaryInterceptor(ctx, nil,
		&grpc.UnaryServerInfo{FullMethod: "/orisun.EventStore/Ping"}, nothing)
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

// guess makes wrong logins at once, and returns how many were tried and how long the others were asked to wait at most.
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

// crowded has an admin, and 80 users whose passwords are cheap to hash.
func crowded(t *testing.T) *directory {
	t.Helper()
	users := newDirectory(t, randomKey(), admin)
	for i := range 80 {
		users.add(t, auth.Credentials{Username: fmt.Sprint("user", i), Password: "s3cret"}, auth.RoleUser)
	}
	return users
}

func TestWrongPasswordsSlowDownTheirUserAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := newDirectory(t, randomKey(), admin, auth.Credentials{Username: "joe", Password: "s3cret"})
		node := newNode(t, users)
		token := issue(t, node, basic("admin:changeit"))

		tried, retryIn := guess(t, 10_000, func(i int) error {
			return from(node, fmt.Sprintf("10.0.0.%d", i%8), "authorization", basic(fmt.Sprintf("admin:guess%d", i)))
		})
		if tried > 10+8 || retryIn <= 0 || retryIn > 5*time.Second {
			t.Errorf("%d of 10,000 guesses at once were tried, the others asked to wait for at most %s", tried, retryIn)
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
		users := crowded(t)
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

// A lock-out would let everybody keep anybody out.
func TestAGuessedUserLogsInFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newNode(t, newDirectory(t, randomKey(), admin))
		guessing, stop := context.WithCancel(context.Background())
		var guessers sync.WaitGroup
		for i := range 8 {
			guessers.Go(func() {
				for n := 0; guessing.Err() == nil; n++ {
					if err := from(node, fmt.Sprintf("10.0.0.%d", i), "authorization",
						basic(fmt.Sprintf("admin:guess%d-%d", i, n))); err == nil {
						t.Error("a guess is let in")
					}
				}
			})
		}
		// the user has a try every five seconds, which a guess takes within one
		time.Sleep(32*time.Second + 500*time.Millisecond)
		if err := from(node, "10.0.0.1", "authorization",
			basic("admin:changeit")); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the right password from where the guesses come: %v", err)
		}
		if err := from(node, "192.0.2.1", "authorization", basic("admin:mistyped")); !isUnauthenticated(err) {
			t.Errorf("a mistake elsewhere: %v", err)
		}
		if err := from(node, "192.0.2.1", "authorization",
			basic("admin:mistyped")); status.Code(err) != codes.ResourceExhausted || retryAfter(err) > time.Minute {
			t.Errorf("another one: %v", err)
		}
		if err := from(node, "192.0.2.2", "authorization", basic("admin:changeit")); err != nil {
			t.Errorf("the right password from elsewhere: %v", err)
		}
		if err := from(node, "10.0.0.1", "authorization", basic("admin:changeit")); err != nil {
			t.Errorf("the right password, shown before: %v", err)
		}
		stop()
		guessers.Wait()
	})
}

// Each guess is from an address and for a user that have a try left, so the queue is all that stands in their way.
func TestGuessesFromManyAddressesLeaveRoomInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := crowded(t)
		users.gate = make(chan struct{})
		node := newNode(t, users)
		var guessers sync.WaitGroup
		for i := range 1000 {
			guessers.Go(func() {
				if err := from(node, fmt.Sprintf("10.0.0.%d", i%16), "authorization",
					basic(fmt.Sprintf("user%d:guess%d", i%80, i))); err == nil {
					t.Error("a guess is let in")
				}
			})
		}
		synctest.Wait() // all who got a place wait for their turn
		elsewhere := make(chan error, 1)
		go func() { elsewhere <- from(node, "192.0.2.1", "authorization", basic("admin:changeit")) }()
		synctest.Wait()
		close(users.gate)
		if err := <-elsewhere; err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		guessers.Wait()
		if _, looked := users.queries(); looked > 32 {
			t.Errorf("%d of 1000 guesses were tried", looked)
		}
	})
}

// What gRPC's transport refuses before a call begins must be what would be refused at once anyway, and nothing else.
func TestTheTapRefusesGuessesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newNode(t, crowded(t))
		token := issue(t, node, basic("admin:changeit"))
		tapped := func(address, method string, sent ...string) error {
			ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
			_, err := node.Tap(ctx, &tap.Info{FullMethodName: method, Header: metadata.Pairs(sent...)})
			return err
		}
		const ping = "/orisun.EventStore/Ping"
		wrong := []string{"authorization", basic("admin:wrong")}
		if err := tapped("10.0.0.1", ping, wrong...); err != nil {
			t.Errorf("the first guess: %v", err)
		}
		for i := range 60 { // the address's tries
			guess(t, 1, func(int) error {
				return from(node, "10.0.0.1", "authorization", basic(fmt.Sprintf("user%d:wrong", i)))
			})
		}
		if err := tapped("10.0.0.1", ping, wrong...); err != nil {
			t.Errorf("a guess that would be held: %v", err)
		}
		var held sync.WaitGroup
		for range 300 {
			held.Go(func() { _ = from(node, "10.0.0.1", wrong...) })
		}
		synctest.Wait()
		if err := tapped("10.0.0.1", ping, wrong...); status.Code(err) != codes.ResourceExhausted || retryAfter(err) <= 0 {
			t.Errorf("one more: %v", err)
		}
		if err := tapped("10.0.0.1", ping,
			append([]string{"x-auth-token", token + "x"}, wrong...)...); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more with a forged token: %v", err)
		}
		for name, err := range map[string]error{
			"a token":                       tapped("10.0.0.1", ping, append([]string{"x-auth-token", token}, wrong...)...),
			"a password, shown before":      tapped("10.0.0.1", ping, "authorization", basic("admin:changeit")),
			"another address":               tapped("192.0.2.1", ping, wrong...),
			"no credentials":                tapped("10.0.0.1", ping),
			"health, which is for everyone": tapped("10.0.0.1", "/grpc.health.v1.Health/Check", wrong...),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		held.Wait()
	})
}

// A query takes a time that a guesser can measure. A query of known users alone would show which users there are.
func TestAGuessQueriesTheSameForKnownAndUnknownUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := crowded(t)
		node := newNode(t, users)
		issue(t, node, basic("admin:changeit"))
		for _, username := range []string{"admin", "user1", "admin"} {
			users.change(func() {})
			time.Sleep(time.Second) // until the node knows
			_, before := users.queries()
			if err := from(node, "192.0.2.1", "authorization", basic(username+":wrong")); !isUnauthenticated(err) {
				t.Error(err)
			}
			if _, after := users.queries(); after-before != 1 {
				t.Errorf("%d queries for a guess at %s", after-before, username)
			}
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
	if _, looked := users.queries(); failed.Load() > 0 || looked > 20 {
		t.Errorf("%d of 500 callers failed, %d logins", failed.Load(), looked)
	}
}

// What is compared is the processor's time of a whole login, of which bcrypt takes nearly all: it must not be spared
// where there is no user. Time on the clock would show how busy the machine is.
func TestTheCostOfALoginDoesNotShowWhetherTheUserExists(t *testing.T) {
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
		if _, err := node.Verify(context.Background(), auth.Credentials{
			Username: username, Password: fmt.Sprint("wrong", i),
		}); !isUnauthenticated(err) {
			t.Fatal(err)
		}
		return processorTime(t) - before
	}
	login("stranger", -1) // what is made once, is made now
	var known, unknown time.Duration
	for i := range 4 {
		known += login("admin", i)
		unknown += login("stranger", i)
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
