package jetstream

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// loginTimeout is how long a login may take. It equals the time for which NATS waits for a login.
	loginTimeout = server.AUTH_TIMEOUT
	// recheckEvery is how often the server checks whether connected clients may stay.
	recheckEvery = time.Second
)

// access decides which clients may connect, and what they may do.
type access struct {
	user, password string // of the connections of this process
	logIn          LogIn

	mu sync.Mutex
	in map[uint64]Stay // clients connected by TCP, by NATS's number of the connection
}

func newAccess(logIn LogIn) *access {
	return &access{user: "orisun-" + rand.Text(), password: rand.Text(), logIn: logIn, in: map[uint64]Stay{}}
}

// Check implements server.Authentication.
func (a *access) Check(client server.ClientAuthentication) bool {
	options := client.GetOpts()
	if options.Username == a.user && subtle.ConstantTimeCompare([]byte(options.Password), []byte(a.password)) == 1 {
		client.RegisterUser(&server.User{Username: options.Username})
		return true
	}
	stay, ok := a.admit(options.Username, options.Password, client.RemoteAddress())
	if !ok {
		return false
	}
	a.mu.Lock()
	a.in[client.GetID()] = stay
	a.mu.Unlock()
	client.RegisterUser(&server.User{Username: options.Username, Permissions: readOnly()})
	return true
}

func (a *access) admit(username, password string, from net.Addr) (Stay, bool) {
	if a.logIn == nil || username == "" || from == nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	return a.logIn(ctx, username, password, from)
}

// watch closes the connections of clients that may not stay, until ctx ends.
func (a *access) watch(ctx context.Context, nats *server.Server) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for id, stay := range a.guests() {
			if nats.GetClient(id) != nil && stay(ctx) {
				continue
			}
			a.mu.Lock()
			delete(a.in, id)
			a.mu.Unlock()
			_ = nats.DisconnectClientByID(id) // its one error is that the connection no longer exists
		}
	}
}

func (a *access) guests() map[uint64]Stay {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.in)
}

// readOnly are the permissions to look at our streams and to consume them, and nothing else.
func readOnly() *server.Permissions {
	const api = "$JS.API."
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			api + "INFO",
			api + "STREAM.NAMES",
			api + "STREAM.LIST",
			api + "STREAM.INFO.*",
			api + "STREAM.MSG.GET.*",
			api + "CONSUMER.CREATE.>",
			api + "CONSUMER.DURABLE.CREATE.>",
			api + "CONSUMER.INFO.>",
			api + "CONSUMER.NAMES.*",
			api + "CONSUMER.LIST.*",
			api + "CONSUMER.MSG.NEXT.>",
			api + "CONSUMER.DELETE.>",
			"$JS.ACK.>",
			"$JS.FC.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "orisun.events.>"}},
	}
}
