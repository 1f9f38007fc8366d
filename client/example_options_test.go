package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/oexza/orisun/client"
)

func ExampleMustDial() {
	c := client.MustDial("grpc://admin:changeit@" + shared.Address)
	defer c.Close() //nolint:errcheck // an example
	fmt.Println(c.Ping(context.Background()))
	// Output: <nil>
}

func ExampleOption() {
	type key struct{}
	c, err := client.Dial("grpc://"+shared.Address,
		client.WithCredentials("admin", "changeit"), // from a secret's file, say
		client.WithRetryTime(5*time.Second),
		client.WithLogger(slog.Default()),
		client.WithTraceContext(func(ctx context.Context) (traceparent, tracestate string) {
			traceparent, _ = ctx.Value(key{}).(string)
			return traceparent, ""
		}),
		client.WithDialOptions(grpc.WithUserAgent("billing")))
	if err != nil {
		panic(err)
	}
	defer c.Close() //nolint:errcheck // an example
	fmt.Println(c.Ping(context.Background()))

	traced := client.ContextWithTrace(context.Background(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "")
	fmt.Println(c.Ping(traced)) // the server's span is a child of that one
	// Output:
	// <nil>
	// <nil>
}

// certificates writes the files of an authority, and of a client's certificate that it has signed.
func certificates() (folder string, roots *x509.CertPool) {
	web := httptest.NewTLSServer(nil)
	web.Close()
	folder, err := os.MkdirTemp("", "orisun-example-")
	if err != nil {
		panic(err)
	}
	certificate := web.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		panic(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt":     {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
		"client.crt": {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
		"client.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			panic(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return folder, roots
}

func ExampleWithClientCertificate() {
	folder, roots := certificates()
	defer os.RemoveAll(folder) //nolint:errcheck // an example

	c, err := client.Dial("grpcs://node1:5005,node2:5005",
		client.WithCAFile(filepath.Join(folder, "ca.crt")),
		client.WithClientCertificate(filepath.Join(folder, "client.crt"), filepath.Join(folder, "client.key")))
	if err != nil {
		panic(err)
	}
	fmt.Println(c.Close()) // Dial has not connected yet

	_, err = client.Dial("grpc://node1", client.WithTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}))
	fmt.Println(err)
	// Output:
	// <nil>
	// options of TLS need a grpcs:// URL
}

func ExampleCount() {
	c, bank, done := example("example_count")
	defer done()

	open := func(account string) error {
		_, err := client.Decide(context.Background(), c, bank, client.Any(client.Where("account", account)), client.Count,
			func(events int) ([]client.NewEvent, error) {
				if events > 0 {
					return nil, fmt.Errorf("account %s is open already", account)
				}
				return client.One("AccountOpened", map[string]any{"account": account, "amount": 0}), nil
			}, client.Attempts(10), client.ContextPageSize(100))
		return err
	}
	fmt.Println(open("carol"))
	fmt.Println(open("carol"))
	// Output:
	// <nil>
	// account carol is open already
}

func ExampleAnyField() {
	c, bank, done := example("example_any_field")
	defer done()
	ctx := context.Background()

	transfer := client.NewEvent{ID: "4", Type: "MoneyTransferred", Data: map[string]any{"from": "alice", "to": "bob"}}
	if _, err := c.Save(ctx, bank, client.Always, transfer); err != nil {
		panic(err)
	}
	for event, err := range c.Get(ctx, bank, client.AnyField([]string{"account", "from", "to"}, "bob")) {
		if err != nil {
			panic(err)
		}
		fmt.Println(event.ID, event.Type)
	}
	// Output:
	// 3 AccountOpened
	// 4 MoneyTransferred
}

func ExampleGetOption() {
	c, bank, done := example("example_get_options")
	defer done()

	read := func(options ...client.GetOption) (last client.Position) {
		var ids []string
		for event, err := range c.Get(context.Background(), bank, nil, options...) {
			if err != nil {
				panic(err)
			}
			ids = append(ids, event.ID)
			last = event.Position
		}
		fmt.Println(ids)
		return last
	}
	first := read(client.Limit(1))
	read(client.After(first), client.PageSize(1)) // one event a page
	read(client.From(first), client.Limit(2))
	// Output:
	// [1]
	// [2 3]
	// [1 2]
}

func ExampleFollowOption() {
	c, bank, done := example("example_follow_options")
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	latest, err := c.Latest(context.Background(), bank, client.Any(client.Where("account", "alice")))
	if err != nil {
		panic(err)
	}
	for event, err := range c.Follow(context.Background(), bank, nil, client.Since(latest.Position)) {
		if err != nil {
			panic(err)
		}
		fmt.Println("after alice's latest:", event.ID)
		break
	}
	for event, err := range c.Follow(ctx, bank, nil, client.SinceNow()) {
		fmt.Println("nothing comes:", event.ID == "" && errors.Is(err, context.DeadlineExceeded))
	}
	// Output:
	// after alice's latest: 3
	// nothing comes: true
}

func ExamplePosition() {
	c, bank, done := example("example_position")
	defer done()

	var checkpoint client.Position // before the first event
	fmt.Println(checkpoint.IsStart())
	for event, err := range c.Get(context.Background(), bank, nil) {
		if err != nil {
			panic(err)
		}
		if event.Position.Compare(checkpoint) > 0 {
			checkpoint = event.Position
		}
	}
	fmt.Println(checkpoint.IsStart(), checkpoint)
	// Output:
	// true
	// false {3,2}
}

func ExampleConsumeOption() {
	c, bank, done := example("example_consume_options")
	defer done()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	byAccount := client.Subscription{Name: "statements", PartitionKey: "account"}
	if _, err := c.CreateSubscription(ctx, bank, byAccount, client.StartAfter(client.Position{})); err != nil {
		panic(err)
	}
	err := c.Consume(ctx, bank, "statements", func(context.Context, client.Delivery) error { return nil },
		client.Concurrency(8), client.Window(100), client.ConsumerName("statements-1"), client.StopTime(time.Minute),
		client.OnCaughtUp(func(client.Position) { stop() })) // a job that ends, rather than a worker
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClient_CreateSubscription() {
	c, bank, done := example("example_subscriptions")
	defer done()
	ctx := context.Background()

	fromNow := client.Subscription{Name: "mailer", Criteria: client.Any(client.Type("Deposited"))}
	if _, err := c.CreateSubscription(ctx, bank, fromNow, client.StartNow()); err != nil {
		panic(err)
	}
	all, err := c.ListSubscriptions(ctx, bank)
	fmt.Println(len(all), all[0].Name, "is at", all[0].Checkpoint, err)
	if _, err := c.ResetSubscription(ctx, bank, "mailer", client.StartAt(time.Now().Add(-time.Hour))); err != nil {
		panic(err)
	}
	mailer, err := c.GetSubscription(ctx, bank, "mailer")
	fmt.Println("after the reset at", mailer.Checkpoint, "with", len(mailer.Consumers), "consumers", err)
	fmt.Println(c.DeleteSubscription(ctx, bank, "mailer"))
	// Output:
	// 1 mailer is at {3,2} <nil>
	// after the reset at {0,0} with 0 consumers <nil>
	// <nil>
}

func ExampleClient_ReplayParked() {
	c, bank, done := example("example_replay")
	defer done()
	ctx := context.Background()

	deposits := client.Subscription{Name: "mailer", MaxRefusals: 1}
	if _, err := c.CreateSubscription(ctx, bank, deposits, client.Start{}); err != nil {
		panic(err)
	}
	work := func(handle func(context.Context, client.Delivery) error) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		caughtUp := client.OnCaughtUp(func(client.Position) { stop() })
		if err := c.Consume(ctx, bank, "mailer", handle, caughtUp); err != nil {
			panic(err)
		}
	}
	work(func(context.Context, client.Delivery) error { return errors.New("the mail server is gone") })
	var positions []client.Position
	for parked, err := range c.ListParked(ctx, bank, "mailer") {
		if err != nil {
			panic(err)
		}
		positions = append(positions, parked.Position)
	}
	skipped, err := c.SkipParked(ctx, bank, "mailer", positions[0]) // that mail is of no use any more
	fmt.Println(skipped, err)
	replayed, err := c.ReplayParked(ctx, bank, "mailer", positions[1:]...)
	fmt.Println(replayed, err)
	handled := 0
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = c.Consume(ctx, bank, "mailer", func(_ context.Context, d client.Delivery) error {
		fmt.Println(d.ID, d.Replayed)
		if handled++; handled == 2 {
			stop()
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 true
	// 3 true
	// <nil>
}
