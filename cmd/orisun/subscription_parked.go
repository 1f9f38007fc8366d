package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newSubscriptionParkedCommand() *cobra.Command {
	request := &orisunpb.ListParkedRequest{}
	var after positionFlag
	var asJSON bool
	command := &cobra.Command{
		Use:     "parked BOUNDARY NAME",
		Short:   "List the parked events of a subscription",
		Example: `  orisun subscription parked orders mailer`,
		Args:    exactly("BOUNDARY", "NAME"),
	}
	flags := command.Flags()
	flags.Var(&after, "after", "begin after this `POSITION`, such as 42/41")
	flags.Uint32Var(&request.Count, "count", 100, "at most `N` events, up to 1000")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		request.Boundary, request.Subscription, request.AfterPosition = args[0], args[1], after.position
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			list, err := c.ListParked(ctx, request)
			if err != nil {
				return err
			}
			if asJSON {
				return writeMessages(command.OutOrStdout(), list.GetEvents()...)
			}
			text := "POSITION\tPARKED\tTYPE\tKEY\tREFUSALS\tREASON\n"
			for _, e := range list.GetEvents() {
				text += fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%s\n", formatPosition(e.GetEvent().GetPosition()),
					e.GetParkedAt().AsTime().Format(time.RFC3339), printable(e.GetEvent().GetEventType()),
					printable(e.GetKey()), e.GetRefusals(), printable(e.GetReason()))
			}
			return writeTable(command.OutOrStdout(), text)
		})
	}
	return command
}

// atLeast rejects fewer arguments than BOUNDARY and NAME.
func atLeast(command *cobra.Command, args []string) error {
	if len(args) < 2 {
		return exactly("BOUNDARY", "NAME")(command, args)
	}
	return nil
}

func newSubscriptionReplayCommand() *cobra.Command {
	return newSettleParkedCommand("replay", "Deliver parked events again",
		func(ctx context.Context, c orisunpb.SubscriptionsClient, boundary, name string, positions []*orisunpb.Position,
			_ bool,
		) (string, error) {
			got, err := c.ReplayParked(ctx, &orisunpb.ReplayParkedRequest{
				Boundary: boundary, Subscription: name, Positions: positions,
			})
			return counted(int(got.GetEvents()), "parked event is delivered", "parked events are delivered") + " again", err
		})
}

func newSubscriptionSkipCommand() *cobra.Command {
	return newSettleParkedCommand("skip", "Remove parked events, which are never delivered again",
		func(ctx context.Context, c orisunpb.SubscriptionsClient, boundary, name string, positions []*orisunpb.Position,
			all bool,
		) (string, error) {
			got, err := c.SkipParked(ctx,
				&orisunpb.SkipParkedRequest{Boundary: boundary, Subscription: name, Positions: positions, All: all})
			return counted(int(got.GetEvents()), "parked event is", "parked events are") + " removed", err
		})
}

// newSettleParkedCommand is a command for parked events at some positions, or for --all of them. settle returns what it
// did.
func newSettleParkedCommand(verb, short string, settle func(ctx context.Context, c orisunpb.SubscriptionsClient,
	boundary, name string, positions []*orisunpb.Position, all bool) (string, error),
) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   verb + " BOUNDARY NAME [POSITION]...",
		Short: short,
		Example: fmt.Sprintf(`  orisun subscription %[1]s orders mailer 42/41
  orisun subscription %[1]s orders mailer --all`, verb),
		Args: atLeast,
	}
	command.Flags().BoolVar(&all, "all", false, "all parked events")
	server := addConnectionFlags(command.Flags())
	completeArguments(command, server, boundaryNames, subscriptionNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		positions, err := parkedArguments(args, all)
		if err != nil {
			return err
		}
		return withSubscriptions(command, server, func(ctx context.Context, c orisunpb.SubscriptionsClient) error {
			settled, err := settle(ctx, c, args[0], args[1], positions, all)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), settled)
			return err
		})
	}
	return command
}

// parkedArguments are the positions after BOUNDARY and NAME; none needs --all.
func parkedArguments(args []string, all bool) ([]*orisunpb.Position, error) {
	if all == (len(args) > 2) {
		return nil, usageError{errors.New("name either positions or --all")}
	}
	return parsePositions(args[2:])
}
