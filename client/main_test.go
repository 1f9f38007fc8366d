package client_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/testserver"
)

// shared is a server for tests that do not harm it, and start starts one for a test alone.
var (
	shared *testserver.Server
	start  func(environment ...string) (*testserver.Server, error)
)

func TestMain(m *testing.M) {
	os.Exit(testserver.Run(func(starter func(...string) (*testserver.Server, error)) int {
		start = starter
		var err error
		if shared, err = start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		// A process that the tests have started is read until it ends.
		reading := goleak.IgnoreAnyFunction("github.com/oexza/orisun/client/internal/testserver.(*Server).read")
		if err := goleak.Find(reading, goleak.IgnoreAnyFunction("os/exec.(*Cmd).watchCtx")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}))
}

// dial returns a client of the shared server, or of the one at url, for a test.
func dial(t testing.TB, url string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// newBoundary creates a boundary for a test alone.
func newBoundary(t testing.TB, c *client.Client) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text()[:12])
	if _, err := c.CreateBoundary(t.Context(), client.Boundary{Name: name, Schema: "public"}); err != nil {
		t.Fatal(err)
	}
	return name
}

// collect reads to the end.
func collect(
	t testing.TB,
	c *client.Client,
	boundary string,
	criteria client.Criteria,
	options ...client.GetOption,
) []client.Event {
	t.Helper()
	var events []client.Event
	for event, err := range c.Get(t.Context(), boundary, criteria, options...) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

func ids(events []client.Event) string {
	var all []string
	for _, event := range events {
		all = append(all, event.ID)
	}
	return strings.Join(all, " ")
}

func save(t testing.TB, c *client.Client, boundary string, events ...client.NewEvent) client.Position {
	t.Helper()
	position, err := c.Save(t.Context(), boundary, client.Always, events...)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// cancelable is a context that ends with the test or by the function.
func cancelable(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
