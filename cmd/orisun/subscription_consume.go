package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

func newSubscriptionConsumeCommand() *cobra.Command {
	var program, name string
	var parallel uint32
	command := &cobra.Command{
		Use:   "consume BOUNDARY NAME [--exec PROGRAM]",
		Short: "Process the events of a subscription",
		Long: `Process the events of a subscription until interrupted. Each event is a JSON
object on a line. Without --exec it is printed and acknowledged.

With --exec a shell runs PROGRAM for each event, which it reads from standard
input. Exit code 0 acknowledges the event. Any other refuses it, with the last
line of standard error as the reason: it is delivered again, and parked after
some refusals.

SIGINT and SIGTERM finish the events in hand. When the server goes away, consume
connects again.`,
		Example: `  orisun subscription consume orders mailer --exec ./send-mail
  orisun subscription consume orders totals --exec ./add --parallel 8`,
		Args: exactly("BOUNDARY", "NAME"),
	}
	flags := command.Flags()
	flags.StringVar(&program, "exec", "", "run `PROGRAM` for each event")
	flags.StringVar(&name, "name", "", "what this consumer is called in lists, as `TEXT`")
	flags.Uint32Var(&parallel, "parallel", 1, "process up to `N` events at a time; without a key, out of order")
	server := addServerFlags(flags)
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		if parallel == 0 {
			return usageError{errors.New("--parallel is 0: it must be at least 1")}
		}
		c := &consumer{
			program: program, out: command.OutOrStdout(), errors: command.ErrOrStderr(),
			start: &orisunpb.ConsumeStart{
				Boundary: args[0], Subscription: args[1], Window: parallel, ConsumerName: name,
			},
		}
		return c.run(command, server)
	}
	return command
}

// consumer processes deliveries. Its window is the number of programs that run at a time, so that no delivery waits
// here until its ack_timeout.
type consumer struct {
	program     string
	out, errors io.Writer
	start       *orisunpb.ConsumeStart
	writing     sync.Mutex // of out and errors
}

// run consumes until the command is interrupted, which is no error, and connects again after transient errors.
func (c *consumer) run(command *cobra.Command, server *connection) (err error) {
	ctx := command.Context()
	conn, err := server.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	client := orisunpb.NewSubscriptionsClient(conn)
	connected := false
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := c.consume(ctx, client, func() { connected, pause = true, firstPause })
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil || !connected || !isTransient(err) && status.Code(err) != codes.Aborted:
			return server.forPeople(err)
		}
		c.say("%v\norisun: connecting again", server.forPeople(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// consume processes one stream. When ctx ends it takes no more events, settles those in hand and ends the stream.
func (c *consumer) consume(ctx context.Context, client orisunpb.SubscriptionsClient, begun func()) error {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := client.Consume(streamCtx)
	if err != nil {
		return err
	}
	var sending sync.Mutex
	send := func(request *orisunpb.ConsumeRequest) {
		sending.Lock()
		defer sending.Unlock()
		if stream.Send(request) != nil {
			cancel() // Recv reports why
		}
	}
	send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: c.start}})
	received := make(chan *orisunpb.ConsumeResponse)
	ended := make(chan error, 1)
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case received <- response:
			case <-streamCtx.Done():
			}
		}
	}()
	var programs sync.WaitGroup
	defer programs.Wait()
	type outcome struct {
		position string
		err      error
	}
	finished := make(chan outcome)
	// inHand has the latest delivery of each event whose program runs. An event comes again while it runs after its
	// ack_timeout, or in a new epoch when its partition has moved away and back: the settlement is of the latest one.
	inHand := map[string]*orisunpb.Delivery{}
	stop := ctx.Done()
	for {
		if stop == nil && len(inHand) == 0 {
			sending.Lock()
			err := stream.CloseSend()
			sending.Unlock()
			if err != nil {
				return err
			}
			for {
				select {
				case <-received: // not begun: it is delivered again, to the next consumer
				case err := <-ended:
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
			}
		}
		select {
		case <-stop:
			stop = nil
			if len(inHand) > 0 {
				c.say("finishing %s in hand; a second signal ends them at once", counted(len(inHand), "event", "events"))
			}
		case done := <-finished:
			send(settlement(inHand[done.position], done.err))
			delete(inHand, done.position)
		case err := <-ended:
			for range len(inHand) {
				<-finished
			}
			return err
		case response := <-received:
			begun()
			for _, delivery := range response.GetDeliveries().GetDeliveries() {
				position := formatPosition(delivery.GetEvent().GetPosition())
				if inHand[position] != nil {
					inHand[position] = delivery
					continue
				}
				if stop == nil { // it is delivered again, to the next consumer
					continue
				}
				inHand[position] = delivery
				programs.Go(func() { finished <- outcome{position, c.handle(delivery.GetEvent())} })
			}
		}
	}
}

// say reports to the user, between what programs print.
func (c *consumer) say(format string, args ...any) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := fmt.Fprintf(c.errors, "orisun: "+format+"\n", args...); err != nil {
		return // where standard error is closed, nothing can be said
	}
}

// settlement acknowledges an event, or refuses it with an error.
func settlement(delivery *orisunpb.Delivery, err error) *orisunpb.ConsumeRequest {
	if err != nil {
		return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
			Partition: delivery.GetPartition(), Epoch: delivery.GetEpoch(),
			Position: delivery.GetEvent().GetPosition(), Reason: strings.ToValidUTF8(err.Error(), "\uFFFD"),
		}}}
	}
	return &orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{Acknowledge: &orisunpb.Acknowledgement{
		Partition: delivery.GetPartition(), Epoch: delivery.GetEpoch(),
		Positions: []*orisunpb.Position{delivery.GetEvent().GetPosition()},
	}}}
}

// handle runs the program with an event.
func (c *consumer) handle(event *orisunpb.Event) error {
	if c.program == "" {
		c.writing.Lock()
		defer c.writing.Unlock()
		return writeMessages(c.out, event)
	}
	var input, stdout, stderr bytes.Buffer
	if err := writeMessages(&input, event); err != nil {
		return err
	}
	run := exec.Command("sh", "-c", c.program) //nolint:noctx // the caller's program, which an interrupt lets end
	run.Stdin, run.Stdout, run.Stderr = &input, &stdout, &stderr
	ownGroup(run)
	failed := run.Run()
	c.writing.Lock()
	defer c.writing.Unlock()
	_, outErr := c.out.Write(stdout.Bytes())
	_, errErr := c.errors.Write(stderr.Bytes())
	if failed != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return errors.New(cmp.Or(strings.TrimSpace(lines[len(lines)-1]), fmt.Sprintf("%s: %v", c.program, failed)))
	}
	return errors.Join(outErr, errErr)
}
