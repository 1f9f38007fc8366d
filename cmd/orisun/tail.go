package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// The pauses between reconnection attempts. Each is twice as long as the one before.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
)

func newTailCommand() *cobra.Command {
	var asJSON bool
	after := positionFlag{text: "now", words: map[string]*orisunpb.Position{"now": nil, "start": beforeFirst()}}
	command := &cobra.Command{
		Use:   "tail BOUNDARY [--where KEY=VALUE]...",
		Short: "Print the events of a boundary as they come",
		Long: `Print the events of a boundary as they come, until interrupted. When the server
goes away, tail says so on standard error, connects again and resumes after the
last event, for --timeout at most.

A line shows an event's position, time in UTC, type, id and data. With --json it
is one JSON object, with the metadata.`,
		Example: `  orisun tail orders
  orisun tail orders --after start --where user_id=7 --or --where user_id=8
  orisun tail orders --after 42/41 --json | jq .data`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	criteria := addCriteriaFlags(flags, "the events")
	flags.Var(&after, "after", "begin after this `POSITION`, such as 42/41, or start, or now")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: args[0], AfterPosition: after.position}
		if len(criteria.list) > 0 {
			request.Query = &orisunpb.Query{Criteria: criteria.list}
		}
		write := func(event *orisunpb.Event) error { return writeEventLine(command.OutOrStdout(), event) }
		if asJSON {
			write = func(event *orisunpb.Event) error { return writeMessages(command.OutOrStdout(), event) }
		}
		return tail(command, server, request, write)
	}
	return command
}

// tail prints until the command is interrupted, which is no error. --timeout limits how long the server may be away,
// not how long tail runs.
func tail(
	command *cobra.Command, server *connection, request *orisunpb.CatchUpSubscribeToEventStoreRequest,
	write func(*orisunpb.Event) error,
) (err error) {
	ctx := command.Context()
	conn, err := server.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	store := orisunpb.NewEventStoreClient(conn)
	if request.AfterPosition == nil {
		if request.AfterPosition, err = lastPosition(ctx, server.timeout, store, request.GetBoundary()); err != nil {
			return server.forPeople(err)
		}
	}
	var begun, lost time.Time // when the last stream began, and when the server went away
	pause := firstPause
	for connected := false; ; {
		err := follow(ctx, store, request, write, func() {
			if !lost.IsZero() {
				command.PrintErrf("orisun: connected again after %s\n", time.Since(lost).Round(time.Millisecond))
			}
			connected, begun = true, time.Now()
		})
		if !begun.IsZero() && time.Since(begun) >= pause { // a stream that ends at once did not end the outage
			pause, lost = firstPause, time.Time{}
		}
		last := formatPosition(request.GetAfterPosition())
		switch {
		case ctx.Err() != nil:
			return nil
		case !connected:
			return server.forPeople(err)
		case !isTransient(err):
			return fmt.Errorf("%w\ngo on with --after %s", server.forPeople(err), last)
		case server.timeout > 0 && !lost.IsZero() && time.Since(lost) >= server.timeout:
			return fmt.Errorf("%w\nno connection within --timeout %s: go on with --after %s",
				server.forPeople(err), server.timeout, last)
		case !begun.IsZero():
			command.PrintErrf("orisun: %v\norisun: connecting again, to go on after %s\n", server.forPeople(err), last)
		}
		if begun = (time.Time{}); lost.IsZero() {
			lost = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// lastPosition resolves now to a position, so that no event that is stored while the server is away gets lost.
func lastPosition(
	ctx context.Context, timeout time.Duration, store orisunpb.EventStoreClient, boundary string,
) (*orisunpb.Position, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	page, err := store.GetEvents(ctx, &orisunpb.GetEventsRequest{
		Boundary: boundary, Count: 1, Direction: orisunpb.Direction_DESC,
	})
	if err != nil || len(page.GetEvents()) == 0 {
		return beforeFirst(), err
	}
	return page.GetEvents()[0].GetPosition(), nil
}

// follow writes events until the stream ends, always with an error, and advances the request's position with them.
// begun is called when the server has accepted the subscription.
func follow(
	ctx context.Context, store orisunpb.EventStoreClient, request *orisunpb.CatchUpSubscribeToEventStoreRequest,
	write func(*orisunpb.Event) error, begun func(),
) error {
	stream, err := store.CatchUpSubscribeToEvents(ctx, request)
	if err != nil {
		return err
	}
	if header, err := stream.Header(); err == nil && header != nil {
		begun()
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := write(event); err != nil {
			return err
		}
		request.AfterPosition = event.GetPosition()
	}
}

// isTransient reports that another attempt may succeed: the server is away, or reports when to try again.
func isTransient(err error) bool {
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	for _, detail := range s.Details() {
		if _, retry := detail.(*errdetails.RetryInfo); retry {
			return true
		}
	}
	return s.Code() == codes.Unavailable
}
