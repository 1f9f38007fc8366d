package jetstream_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	embedded "github.com/oexza/orisun/server/jetstream"
)

// member is a server of cluster c that serves a store.
func member(t *testing.T, name, storeID string, port int, routes ...int) embedded.Config {
	t.Helper()
	cfg := config(t)
	cfg.ServerName = name
	cfg.Cluster = &embedded.ClusterConfig{
		Name: "c", StoreID: storeID, Host: "127.0.0.1", Port: port, User: "route", Password: "secret",
	}
	for _, route := range routes {
		cfg.Cluster.Routes = append(cfg.Cluster.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", route)})
	}
	return cfg
}

func TestARouteToAnotherStoreIsNeverMade(t *testing.T) {
	ports := freePorts(t, 3)
	own, foreign := strings.Repeat("a", 36), strings.Repeat("b", 36)

	// The foreign server finds no node when it starts, and tries again.
	log := &lines{}
	cfg := member(t, "foreign", foreign, ports[1], ports[0])
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	start(t, cfg)
	first := member(t, "one", own, ports[0], 1)
	first.Logger = slog.New(slog.NewTextHandler(log, nil))
	one := start(t, first)
	for deadline := time.Now().Add(30 * time.Second); strings.Count(log.String(), "is refused") < 2; {
		<-time.After(10 * time.Millisecond)
		if time.Now().After(deadline) {
			t.Fatalf("both do not say that a node is refused:\n%s", log)
		}
	}

	_, err := embedded.Start(t.Context(), member(t, "late", foreign, 0, ports[0]))
	if !errors.Is(err, embedded.ErrAnotherStore) || !strings.Contains(err.Error(), own) ||
		!strings.Contains(err.Error(), foreign) {
		t.Errorf("got %v, want ErrAnotherStore with both stores", err)
	}
	// One of ours at a route is enough: a foreign one at another route keeps no node of a sound cluster from starting.
	hears(t, start(t, member(t, "two", own, ports[2], ports[1], ports[0])), one)
}

// hears waits until a message of one server reaches another one.
func hears(t *testing.T, hearing, telling *embedded.Server) {
	t.Helper()
	to, err := hearing.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	heard, err := to.SubscribeSync("orisun.hints.*")
	if err != nil {
		t.Fatal(err)
	}
	from, err := telling.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err := from.Publish("orisun.hints.orders", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := heard.NextMsg(100 * time.Millisecond); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing heard")
		}
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
