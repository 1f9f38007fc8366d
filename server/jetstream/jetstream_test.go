package jetstream_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	embedded "github.com/oexza/orisun/server/jetstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// right is what a house lets in.
var right = nats.UserInfo("admin", "s3cret")

// house lets admin in, until it is closed.
type house struct{ closed atomic.Bool }

func (h *house) logIn(_ context.Context, username, password string, from net.Addr) (embedded.Stay, bool) {
	return func(context.Context) bool { return !h.closed.Load() }, username == "admin" && password == "s3cret" &&
		from.(*net.TCPAddr).IP.IsLoopback()
}

func config(t *testing.T) embedded.Config {
	t.Helper()
	return embedded.Config{
		ServerName: "test", Host: "127.0.0.1", LogIn: new(house).logIn, MaxPayload: 1 << 20, StoreDir: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, server) })
	return server
}

func shutdown(t *testing.T, server *embedded.Server) {
	t.Helper()
	if err := server.Shutdown(); err != nil {
		t.Error(err)
	}
}

func inside(t *testing.T, server *embedded.Server) jetstream.JetStream {
	t.Helper()
	conn, err := server.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func outside(t *testing.T, server *embedded.Server, options ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	conn, err := nats.Connect("nats://"+server.Address().String(), append(options, nats.NoReconnect())...)
	if err == nil {
		t.Cleanup(conn.Close)
	}
	return conn, err
}

var stream = jetstream.StreamConfig{Name: "ORISUN_orders", Subjects: []string{"orisun.events.orders.>"}}

func TestAStreamSurvivesARestart(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)
	js := inside(t, server)
	if _, err := js.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "orisun.events.orders.T", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	shutdown(t, server)
	shutdown(t, server)
	if _, err := server.Connect("late"); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("a connection after the end: %v", err)
	}

	again, err := inside(t, start(t, cfg)).Stream(t.Context(), stream.Name)
	if err != nil || again.CachedInfo().State.Msgs != 1 {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
}

func TestOthersNeedTheCredentials(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)
	for name, options := range map[string][]nats.Option{
		"none":           nil,
		"wrong password": {nats.UserInfo("admin", "changeit")},
		"wrong user":     {nats.UserInfo("root", "s3cret")},
		"token":          {nats.Token("s3cret")},
	} {
		if _, err := outside(t, server, options...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := outside(t, server, right); err != nil {
		t.Errorf("the right ones: %v", err)
	}
}

func TestOthersAreCutWhenTheyMayNotStay(t *testing.T) {
	cfg := config(t)
	var open house
	cfg.LogIn = open.logIn
	server := start(t, cfg)
	own, err := server.Connect("own")
	if err != nil {
		t.Fatal(err)
	}
	cut := make(chan struct{})
	if _, err := outside(t, server, right, nats.ClosedHandler(func(*nats.Conn) { close(cut) })); err != nil {
		t.Fatal(err)
	}
	open.closed.Store(true)
	select {
	case <-cut:
	case <-time.After(30 * time.Second):
		t.Error("a guest stays")
	}
	if err := own.Flush(); err != nil {
		t.Errorf("a connection of this process: %v", err)
	}
}

func TestWithoutAnAuthenticatorEveryLoginIsRefused(t *testing.T) {
	cfg := config(t)
	cfg.LogIn = nil
	if _, err := outside(t, start(t, cfg), right); !errors.Is(err, nats.ErrAuthorization) {
		t.Error(err)
	}
}

func TestOthersReadWhatIsPublished(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)
	js := inside(t, server)
	if _, err := js.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	conn, err := outside(t, server, right)
	if err != nil {
		t.Fatal(err)
	}
	live, err := conn.SubscribeSync("orisun.events.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "orisun.events.orders.T", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := live.NextMsg(10 * time.Second); err != nil {
		t.Errorf("live: %v", err)
	}

	reader, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	read, err := reader.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.GetMsg(t.Context(), 1); err != nil {
		t.Errorf("one message: %v", err)
	}
	ordered, err := read.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if message, err := ordered.Next(); err != nil || string(message.Data()) != "{}" {
		t.Errorf("an ordered consumer: %v", err)
	}
	durable, err := read.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	message, err := durable.Next()
	if err == nil {
		err = message.DoubleAck(t.Context())
	}
	if err != nil {
		t.Errorf("a durable consumer: %v", err)
	}
	if err := read.DeleteConsumer(t.Context(), "billing"); err != nil {
		t.Errorf("delete a consumer: %v", err)
	}
}

// An answer never comes to a request that NATS refuses; the refusal comes to the connection's error handler.
func TestOthersChangeNothing(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)
	js := inside(t, server)
	own, err := js.CreateStream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "orisun.events.orders.T", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	refusals := make(chan error, 1)
	conn, err := outside(t, server, right,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"orisun.events.orders.T", "orisun.hints.orders", "anything",
		"$JS.API.STREAM.CREATE.other", "$JS.API.STREAM.UPDATE.ORISUN_orders", "$JS.API.STREAM.DELETE.ORISUN_orders",
		"$JS.API.STREAM.PURGE.ORISUN_orders",
		"$JS.API.STREAM.MSG.DELETE.ORISUN_orders", "$JS.API.STREAM.RESTORE.other", "$JS.API.STREAM.SNAPSHOT.ORISUN_orders",
		"$JS.API.ACCOUNT.PURGE.$G",
		"$JS.API.SERVER.REMOVE", "$SYS.REQ.SERVER.PING", "_INBOX.other",
	} {
		if err := conn.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refusals:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("publish to %s: %v", subject, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("publish to %s: not refused", subject)
		}
	}
	if _, err := conn.SubscribeSync("$SYS.>"); err != nil {
		t.Fatal(err)
	}
	if err := <-refusals; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("subscribe to $SYS.>: %v", err)
	}
	if info, err := own.Info(t.Context()); err != nil || info.State.Msgs != 1 || info.State.LastSeq != 1 {
		t.Errorf("the stream afterwards: %+v, %v", info, err)
	}
}

func TestWhyItDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	running := config(t)
	start(t, running)

	for name, wrong := range map[string]struct {
		change func(*embedded.Config)
		says   []string
	}{
		"the port is taken": {
			func(c *embedded.Config) { c.Port = taken.Addr().(*net.TCPAddr).Port },
			[]string{taken.Addr().String(), "ORISUN_NATS_PORT", "address already in use"},
		},
		"no directory": {
			func(c *embedded.Config) { c.StoreDir = filepath.Join(file, "nats") },
			[]string{file, "ORISUN_NATS_STORE_DIR", "not a directory"},
		},
		"a file in its way": {func(c *embedded.Config) {
			if err := os.WriteFile(filepath.Join(c.StoreDir, "jetstream"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"JetStream", "ORISUN_NATS_STORE_DIR", "not a directory"}},
		"another server's directory": {
			func(c *embedded.Config) { c.StoreDir = running.StoreDir },
			[]string{running.StoreDir, embedded.ErrLocked.Error()},
		},
		"several mistakes": {
			func(c *embedded.Config) { c.Port, c.StoreDir, c.MaxPayload = -1, "", 0 },
			[]string{"ORISUN_NATS_PORT", "ORISUN_NATS_STORE_DIR", "ORISUN_NATS_MAX_PAYLOAD"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			wrong.change(&cfg)
			server, err := embedded.Start(t.Context(), cfg)
			if err == nil {
				shutdown(t, server)
				t.Fatal("it starts")
			}
			for _, text := range wrong.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if server, err := embedded.Start(ended, config(t)); err == nil {
		shutdown(t, server) // it was ready at once
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("a start that is given up: %v", err)
	}
}

// A hint of one node reaches the others.
func TestNodesOfAClusterHearEachOther(t *testing.T) {
	ports := freePorts(t, 2)
	one := start(t, member(t, "one", "s", ports[0], ports[1]))
	hears(t, start(t, member(t, "two", "s", ports[1], ports[0])), one)
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := listener.Close(); err != nil {
				t.Error(err)
			}
		}()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
