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
	var all bool
	command := &cobra.Command{
		Use:   "replay BOUNDARY NAME [POSITION]...",
		Short: "Deliver parked events again",
		Example: `  orisun subscription replay orders mailer 42/41
  orisun subscription replay orders mailer --all`,
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
			got, err := c.ReplayParked(ctx,
				&orisunpb.ReplayParkedRequest{Boundary: args[0], Subscription: args[1], Positions: positions})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "%s again\n",
				counted(int(got.GetEvents()), "parked event is delivered", "parked events are delivered"))
			return err
		})
	}
	return command
}

func newSubscriptionSkipCommand() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "skip BOUNDARY NAME [POSITION]...",
		Short: "Remove parked events, which are never delivered again",
		Example: `  orisun subscription skip orders mailer 42/41
  orisun subscription skip orders mailer --all`,
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
			got, err := c.SkipParked(ctx,
				&orisunpb.SkipParkedRequest{Boundary: args[0], Subscription: args[1], Positions: positions, All: all})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "%s removed\n",
				counted(int(got.GetEvents()), "parked event is", "parked events are"))
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
