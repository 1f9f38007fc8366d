package jetstream

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// credentials are kept as hashes of one length, so that comparing tells nothing of theirs.
type credentials struct{ user, password [sha256.Size]byte }

func newCredentials(user, password string) credentials {
	return credentials{sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))}
}

func (c credentials) equal(other credentials) bool {
	return subtle.ConstantTimeCompare(c.user[:], other.user[:])&subtle.ConstantTimeCompare(c.password[:], other.password[:]) == 1
}

// access decides who may connect, and what they may do.
type access struct {
	user, password string // of the connections of this process
	inside         credentials
	outside        credentials
}

func newAccess(user, password string) *access {
	a := &access{user: "orisun-" + rand.Text(), password: rand.Text(), outside: newCredentials(user, password)}
	a.inside = newCredentials(a.user, a.password)
	return a
}

// Check implements server.Authentication.
func (a *access) Check(client server.ClientAuthentication) bool {
	options := client.GetOpts()
	given := newCredentials(options.Username, options.Password)
	switch {
	case given.equal(a.inside):
		client.RegisterUser(&server.User{Username: options.Username})
	case given.equal(a.outside):
		client.RegisterUser(&server.User{Username: options.Username, Permissions: readOnly()})
	default:
		return false
	}
	return true
}

// readOnly is what it takes to look at our streams and to consume them, and nothing else.
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
