package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oexza/orisun/migrations/pgtest"
)

// natsAddress is where a server's NATS listens, by its log.
func natsAddress(t *testing.T, server *process) string {
	t.Helper()
	for line := range strings.Lines(server.logged()) {
		var said struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "NATS: start" {
			return said.Address
		}
	}
	t.Fatal("the log does not say where NATS listens")
	return ""
}

// The NATS port knows the users that gRPC knows: it lets admins in, as long as they are.
func TestNATSLetsInAdminsAsLongAsTheyAre(t *testing.T) {
	server := launch(t, environment(t.TempDir(), outside(pgtest.NewEmpty(t))...))
	address := "nats://" + natsAddress(t, server)
	orisun := func(input, by string, args ...string) {
		t.Helper()
		if output, ok := command(t, input, []string{"ORISUN_URL=grpc://" + by + "@" + server.address}, args...); !ok {
			t.Fatalf("orisun %s: %s", strings.Join(args, " "), output)
		}
	}
	connect := func(user, password string) (cut <-chan struct{}, err error) {
		closed := make(chan struct{})
		conn, err := nats.Connect(address, nats.UserInfo(user, password), nats.NoReconnect(),
			nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
		if err == nil {
			t.Cleanup(conn.Close)
		}
		return closed, err
	}
	wantRefused := func(what, user, password string) {
		t.Helper()
		if _, err := connect(user, password); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantCut := func(what string, cut <-chan struct{}) {
		t.Helper()
		select {
		case <-cut:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the connection stays", what)
		}
	}
	wantIn := func(user, password string) <-chan struct{} {
		t.Helper()
		cut, err := connect(user, password)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		return cut
	}

	orisun("s3cret-1\n", "admin:changeit", "user", "create", "joe", "--role", "user", "--role", "operations")
	wantRefused("who is no admin", "joe", "s3cret-1")
	orisun("", "admin:changeit", "user", "roles", "joe", "admin")
	joe := wantIn("joe", "s3cret-1")
	orisun("", "admin:changeit", "user", "roles", "joe", "user")
	wantCut("who is no admin any more", joe)

	first := wantIn("admin", "changeit")
	orisun("s3cret-2\n", "admin:changeit", "user", "password")
	wantCut("who has another password", first)
	wantRefused("the configured password, which is not the admin's any more", "admin", "changeit")
	wantRefused("stranger", "stranger", "changeit")
	wantIn("admin", "s3cret-2")
}
