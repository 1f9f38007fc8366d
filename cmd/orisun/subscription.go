package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

func newSubscriptionCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "subscription",
		Short: "Create durable subscriptions, consume and manage them",
	}
	command.AddCommand(newSubscriptionCreateCommand(), newSubscriptionListCommand(), newSubscriptionShowCommand(),
		newSubscriptionConsumeCommand(), newSubscriptionWaitCommand(), newSubscriptionResetCommand(),
		newSubscriptionDeleteCommand(), newSubscriptionParkedCommand(), newSubscriptionReplayCommand(),
		newSubscriptionSkipCommand())
	return command
}

// withSubscriptions calls the server's Subscriptions. It converts errors of calls to errors for people.
func withSubscriptions(command *cobra.Command, server *connection,
	do func(context.Context, orisunpb.SubscriptionsClient) error,
) error {
	return server.call(command.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, orisunpb.NewSubscriptionsClient(conn))
	})
}

func subscriptionNames(
	ctx context.Context, conn *grpc.ClientConn, before []string,
) (names []cobra.Completion, _ error) {
	list, err := orisunpb.NewSubscriptionsClient(conn).ListSubscriptions(ctx,
		&orisunpb.ListSubscriptionsRequest{Boundary: before[0]})
	for _, subscription := range list.GetSubscriptions() {
		names = append(names, subscription.GetName())
	}
	return names, err
}

// startFlag is where a subscription begins: beginning, now, a position or a time.
type startFlag struct {
	text  string
	start *orisunpb.SubscriptionStart
}

// String implements pflag.Value.
func (f *startFlag) String() string { return f.text }

// Type implements pflag.Value.
func (*startFlag) Type() string { return "start" }

// Set implements pflag.Value.
func (f *startFlag) Set(text string) error {
	switch text {
	case "beginning":
		f.start = &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Beginning{Beginning: true}}
	case "now":
		f.start = &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Now{Now: true}}
	default:
		var position positionFlag
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			f.start = &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Time{Time: timestamppb.New(at)}}
		} else if position.Set(text) == nil {
			f.start = &orisunpb.SubscriptionStart{
				Start: &orisunpb.SubscriptionStart_AfterPosition{AfterPosition: position.position},
			}
		} else {
			return errors.New("it must be beginning, now, a position such as 42/41 or a time such as 2026-11-30T12:00:00Z")
		}
	}
	f.text = text
	return nil
}

func newSubscriptionCreateCommand() *cobra.Command {
	request := &orisunpb.CreateSubscriptionRequest{}
	start := startFlag{text: "beginning"}
	var ackTimeout time.Duration
	var asJSON bool
	command := &cobra.Command{
		Use:   "create BOUNDARY NAME [--where KEY=VALUE]...",
		Short: "Create a durable subscription",
		Long: `Create a durable subscription. The same definition again changes nothing.

With --partition-key, consumers share the events, and those with the same value
of this data field keep their order. Without it one consumer gets all events,
and others are standbys.`,
		Example: `  orisun subscription create orders mailer --where event_type=OrderPlaced
  orisun subscription create orders totals --partition-key user_id
  orisun subscription create orders audit --start 2026-11-30T12:00:00Z`,
		Args: exactly("BOUNDARY", "NAME"),
	}
	flags := command.Flags()
	criteria := addCriteriaFlags(flags, "the events")
	flags.Var(&start, "start", "begin at `START`: beginning, now, after a position or at a time")
	flags.StringVar(&request.PartitionKey, "partition-key", "", "the data `FIELD` whose values keep their order")
	flags.Uint32Var(&request.Partitions, "partitions", 0, "how many `N` partitions; 0 is 16 with --partition-key")
	flags.DurationVar(&ackTimeout, "ack-timeout", 0, "deliver an event again after this `TIME`; 0 is 30s")
	flags.Uint32Var(&request.MaxRefusals, "max-refusals", 0, "park an event after `N` refusals; 0 is 5")
	flags.BoolVar(&request.ParkFollowing, "park-following", false, "park later events of a parked event's key behind it")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		request.Boundary, request.Name, request.Start = args[0], args[1], start.start
		if len(criteria.list) > 0 {
			request.Query = &orisunpb.Query{Criteria: criteria.list}
		}
		if ackTimeout != 0 {
			request.AckTimeout = durationpb.New(ackTimeout)
		}
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			created, err := c.CreateSubscription(ctx, request)
			if err != nil {
				return err
			}
			return writeSubscriptions(command.OutOrStdout(), asJSON, created.GetSubscription())
		})
	}
	return command
}

func newSubscriptionListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "list BOUNDARY",
		Short:   "List a boundary's subscriptions with their lag",
		Example: `  orisun subscription list orders`,
		Args:    exactly("BOUNDARY"),
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			list, err := c.ListSubscriptions(ctx, &orisunpb.ListSubscriptionsRequest{Boundary: args[0]})
			if err != nil {
				return err
			}
			return writeSubscriptions(command.OutOrStdout(), asJSON, list.GetSubscriptions()...)
		})
	}
	return command
}

func newSubscriptionShowCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "show BOUNDARY NAME",
		Short:   "Show a subscription's partitions and consumers",
		Example: `  orisun subscription show orders mailer`,
		Args:    exactly("BOUNDARY", "NAME"),
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			got, err := c.GetSubscription(ctx, &orisunpb.GetSubscriptionRequest{Boundary: args[0], Name: args[1]})
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			if err := writeSubscriptions(out, asJSON, got.GetSubscription()); err != nil || asJSON {
				return err
			}
			return writePartitions(out, got.GetSubscription())
		})
	}
	return command
}

func writeSubscriptions(out io.Writer, asJSON bool, subscriptions ...*orisunpb.Subscription) error {
	if asJSON {
		return writeMessages(out, subscriptions...)
	}
	text := "NAME\tKEY\tPARTITIONS\tCHECKPOINT\tLAG\tBEHIND\tPARKED\tCONSUMERS\n"
	for _, s := range subscriptions {
		text += fmt.Sprintf("%s\t%s\t%d\t%s\t%d\t%s\t%d\t%d\n", printable(s.GetName()),
			printable(cmp.Or(s.GetPartitionKey(), "-")), s.GetPartitions(), formatPosition(s.GetCheckpoint()),
			s.GetLag().GetEvents(), formatSeconds(s.GetLag().GetSeconds()), s.GetParked(), len(s.GetConsumers()))
	}
	return writeTable(out, text)
}

func writePartitions(out io.Writer, subscription *orisunpb.Subscription) error {
	text := "\nPARTITION\tCHECKPOINT\tLAG\tBEHIND\tUNACKNOWLEDGED\tCONSUMER\n"
	for _, p := range subscription.GetPartitionStates() {
		oldest := "-"
		if p.GetOldestUnacknowledged() != nil {
			oldest = formatPosition(p.GetOldestUnacknowledged())
		}
		text += fmt.Sprintf("%d\t%s\t%d\t%s\t%s\t%s\n", p.GetPartition(), formatPosition(p.GetCheckpoint()),
			p.GetLag().GetEvents(), formatSeconds(p.GetLag().GetSeconds()), oldest, cmp.Or(p.GetConsumerId(), "-"))
	}
	if err := writeTable(out, text); err != nil {
		return err
	}
	text = "\nCONSUMER\tNAME\tNODE\tADDRESS\tUSER\n"
	for _, c := range subscription.GetConsumers() {
		text += fmt.Sprintf("%s\t%s\t%s\t%s\t%s\n", c.GetConsumerId(), printable(cmp.Or(c.GetName(), "-")),
			printable(c.GetNode()), printable(c.GetAddress()), printable(c.GetUsername()))
	}
	return writeTable(out, text)
}

func formatSeconds(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
}

// answerTime is how long the answer of a call may take that ends by the server's own clock, and says how far it is.
const answerTime = 5 * time.Second

func newSubscriptionWaitCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "wait BOUNDARY NAME POSITION",
		Short: "Wait until a subscription has acknowledged a position",
		Long: `Wait until a subscription has acknowledged (or parked) every event up to a
position, such as that of a save. It waits 10 s, or for --timeout: at most 1m.`,
		Example: `  orisun subscription wait orders totals 42/41`,
		Args:    exactly("BOUNDARY", "NAME", "POSITION"),
	}
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		positions, err := parsePositions(args[2:])
		if err != nil {
			return err
		}
		request := &orisunpb.WaitForCheckpointRequest{Boundary: args[0], Subscription: args[1], Position: positions[0]}
		if server.timeout > 0 {
			request.Timeout = durationpb.New(server.timeout)
			server.timeout += answerTime
		}
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			reached, err := c.WaitForCheckpoint(ctx, request)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), formatPosition(reached.GetCheckpoint()))
			return err
		})
	}
	return command
}

// parsePositions reads arguments that are positions.
func parsePositions(texts []string) (positions []*orisunpb.Position, _ error) {
	for _, text := range texts {
		var position positionFlag
		if position.Set(text) != nil {
			return nil, usageError{fmt.Errorf("%q is not a position such as 42/41", text)}
		}
		positions = append(positions, position.position)
	}
	return positions, nil
}

func newSubscriptionResetCommand() *cobra.Command {
	var to startFlag
	var yes bool
	command := &cobra.Command{
		Use:   "reset BOUNDARY NAME --to START",
		Short: "Move a subscription's checkpoints, for a replay",
		Example: `  orisun subscription reset orders totals --to beginning
  orisun subscription reset orders totals --to 42/41 --yes`,
		Args: exactly("BOUNDARY", "NAME"),
	}
	command.Flags().Var(&to, "to", "go on at `START`: beginning, now, after a position or at a time")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		if to.start == nil {
			return usageError{errors.New("--to is missing: beginning, now, a position or a time")}
		}
		what := fmt.Sprintf("Move subscription %s of boundary %s to %s", oneLine(args[1]), oneLine(args[0]), to.text)
		if err := confirmUnless(yes, command, what); err != nil {
			return err
		}
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			reset, err := c.ResetSubscription(ctx,
				&orisunpb.ResetSubscriptionRequest{Boundary: args[0], Name: args[1], Start: to.start})
			if err != nil {
				return err
			}
			return writeSubscriptions(command.OutOrStdout(), false, reset.GetSubscription())
		})
	}
	return command
}

func newSubscriptionDeleteCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:     "delete BOUNDARY NAME",
		Short:   "Delete a subscription with its checkpoints",
		Example: `  orisun subscription delete orders mailer`,
		Args:    exactly("BOUNDARY", "NAME"),
	}
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		what := fmt.Sprintf("Delete subscription %s of boundary %s", oneLine(args[1]), oneLine(args[0]))
		if err := confirmUnless(yes, command, what); err != nil {
			return err
		}
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			request := &orisunpb.DeleteSubscriptionRequest{Boundary: args[0], Name: args[1]}
			if _, err := c.DeleteSubscription(ctx, request); err != nil {
				return err
			}
			_, err := fmt.Fprintf(command.OutOrStdout(), "deleted subscription %s of boundary %s\n", args[1], args[0])
			return err
		})
	}
	return command
}
