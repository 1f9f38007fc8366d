// Command follow reads a boundary's stream with a plain NATS client, as docs/nats.md describes, and checks that no
// event is missing.
//
//	go run -C examples ./follow -boundary orisun_test_1 -count 2
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "follow:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("follow", flag.ContinueOnError)
	address := flags.String("url", "nats://admin:changeit@localhost:4224", "the server, and a user with the role admin")
	boundary := flags.String("boundary", "orisun_test_1", "whose events to read")
	count := flags.Int("count", 0, "end after so many events; 0 is never")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := nats.Connect(*address)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	// An ordered consumer has no state on the server, and resumes by itself after a lost connection.
	consumer, err := js.OrderedConsumer(ctx, "ORISUN_"+*boundary, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	last := ""
	for n := 1; ; n++ {
		message, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		header := message.Headers()
		if previous := header.Get("ce-previousglobalid"); last != "" && previous != last {
			return fmt.Errorf("events are missing between global_id %s and %s: read them by gRPC (GetEvents)",
				last, header.Get("ce-globalid"))
		}
		last = header.Get("ce-globalid")
		eventType, err := url.PathUnescape(header.Get("ce-type"))
		if err != nil {
			return fmt.Errorf("ce-type: %w", err)
		}
		fmt.Printf("%s/%s %s %s\n", header.Get("ce-transactionid"), last, eventType, message.Data())
		if n == *count {
			return nil
		}
	}
}
